//! A tree in the language of Graphviz.
//!
//! Source: <https://graphviz.org/doc/info/lang.html> and, for the fields of a record,
//! <https://graphviz.org/doc/info/shapes.html#record>

use std::fmt::Write as _;
use std::io::{self, Write};

use super::picture::{Item, Key, Kind, Picture, Shape, tail};
use crate::quote::Harmless;

pub(super) fn write(picture: &Picture, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "digraph tree {{")?;
    writeln!(out, "  label=\"{}\";", escaped(&picture.title()))?;
    writeln!(out, "  labelloc=t;")?;
    writeln!(out, "  fontname=\"Helvetica\";")?;
    writeln!(
        out,
        "  node [shape=record, fontname=\"Courier\", fontsize=10, style=filled, \
         fillcolor=white];"
    )?;
    writeln!(out, "  edge [arrowsize=0.6];")?;
    for (place, shape) in picture.shapes.iter().enumerate() {
        write_shape(place, shape, out)?;
    }
    for (place, shape) in picture.shapes.iter().enumerate() {
        for (slot, item) in shape.items.iter().enumerate() {
            if let Item::Below(below) = item {
                writeln!(out, "  n{place}:p{slot} -> n{below};")?;
            }
        }
    }
    write_layers(picture, out)?;
    writeln!(out, "}}")
}

fn write_shape(place: usize, shape: &Shape, out: &mut impl Write) -> io::Result<()> {
    let (style, what) = match &shape.kind {
        Kind::Node => ("", ""),
        Kind::Closed => (", shape=box, style=dotted", "not shown: "),
        Kind::Missing(what) => (
            ", shape=box, style=dashed, color=red, fontcolor=red",
            &**what,
        ),
        Kind::Bad(what) => (", shape=box, color=red, fontcolor=red", &**what),
    };
    let cid = shape.cid.map(|cid| cid.to_string()).unwrap_or_default();
    let tip = match shape.kind {
        Kind::Missing(_) | Kind::Bad(_) => escaped(what),
        Kind::Node | Kind::Closed => format!("{what}node {cid}, height {}", shape.height),
    };
    let label = match shape.kind {
        Kind::Node => fields(shape),
        _ => escaped(&shape.name()),
    };
    writeln!(
        out,
        "  n{place} [label=\"{label}\", tooltip=\"{tip}\"{style}];"
    )
}

/// A record node of Graphviz: at the top the node's name; below, its keys and the slots between
/// them.
fn fields(shape: &Shape) -> String {
    let mut fields = String::new();
    for (slot, item) in shape.items.iter().enumerate() {
        if slot > 0 {
            fields.push('|');
        }
        let written = match item {
            Item::Below(_) => write!(fields, "<p{slot}>"),
            Item::Key(key) => write!(fields, "{}", label(key)),
        };
        written.expect("a string takes every write");
    }
    if shape.items.is_empty() {
        fields.push_str("no keys");
    }
    format!("{{{}|{{{fields}}}}}", escaped(&shape.name()))
}

/// The end of the collection above the end of the record key.
fn label(key: &Key) -> String {
    let missing = if key.is_there { "" } else { "\\n(missing)" };
    let collection = match key.collection() {
        Some(collection) => {
            let segments: Vec<&str> = collection.rsplit('.').take(2).collect();
            let end: Vec<&str> = segments.into_iter().rev().collect();
            format!("{}\\n", escaped(&tail(&end.join("."), 20)))
        }
        None => String::new(),
    };
    format!("{collection}{}{missing}", escaped(&key.label(16)))
}

/// Puts nodes of the same height side by side.
fn write_layers(picture: &Picture, out: &mut impl Write) -> io::Result<()> {
    let mut heights: Vec<u8> = picture.shapes.iter().map(|shape| shape.height).collect();
    heights.sort_unstable();
    heights.dedup();
    for height in heights {
        write!(out, "  {{ rank=same;")?;
        for (place, shape) in picture.shapes.iter().enumerate() {
            if shape.height == height {
                write!(out, " n{place};")?;
            }
        }
        writeln!(out, " }}")?;
    }
    Ok(())
}

/// Escapes text for a quoted label.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in Harmless(text).to_string().chars() {
        match c {
            // In quotes, the first of them is removed again.
            '\\' => escaped.push_str("\\\\"),
            '"' | '{' | '}' | '|' | '<' | '>' => escaped.extend(['\\', c]),
            // What looks like an entity is parsed as one.
            '&' => escaped.push_str("&amp;"),
            c => escaped.push(c),
        }
    }
    escaped
}
