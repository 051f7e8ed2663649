//! A tree as a picture for a browser.
//!
//! Heights are rows, with the top above. A node without subtrees is a box with its keys below each
//! other; one with subtrees is a bar with its keys between them, so that all keys are in order from
//! left to right. Details for which there is no room are shown on hover.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::picture::{Item, Key, Kind, Picture, Shape, tail};
use crate::quote::{Counted, Harmless};

pub(super) fn write(picture: &Picture, out: &mut impl Write) -> io::Result<()> {
    let layout = Layout::new(picture);
    let (width, height) = (layout.width, layout.height);
    writeln!(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">"
    )?;
    writeln!(out, "<title>{}</title>", escaped(&picture.title()))?;
    out.write_all(STYLE.as_bytes())?;
    writeln!(
        out,
        "<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>"
    )?;
    write_head(picture, out)?;
    write_rows(&layout, out)?;
    for (shape, place) in picture.shapes.iter().zip(&layout.places) {
        write_links(shape, place, &layout, out)?;
    }
    for (shape, place) in picture.shapes.iter().zip(&layout.places) {
        write_shape(shape, place, picture, &layout, out)?;
    }
    writeln!(out, "</svg>")
}

/// The positions of everything, in pixels.
struct Layout {
    width: i64,
    height: i64,
    /// The widest label of a key, in characters, and its width.
    label_chars: usize,
    chip_width: i64,
    /// One for each shape.
    places: Vec<Place>,
    /// Where each row begins and how high it is, from the top.
    rows: BTreeMap<std::cmp::Reverse<u8>, (i64, i64)>,
}

/// The box of a shape, and the positions around it.
#[derive(Clone, Default)]
struct Place {
    /// The left end and the width of the shape together with everything below it.
    left: i64,
    span: i64,
    /// The box; `x` is relative to `left`.
    x: i64,
    y: i64,
    width: i64,
    height: i64,
    /// The positions of its items, relative to `left`: the left ends of keys, and of the areas of
    /// the shapes below.
    items: Vec<i64>,
}

impl Place {
    /// The left end of the box.
    fn start(&self) -> i64 {
        self.left + self.x
    }

    /// The middle of the box, relative to `left`.
    fn axis(&self) -> i64 {
        self.x + self.width / 2
    }

    fn middle(&self) -> i64 {
        self.left + self.axis()
    }
}

impl Layout {
    fn new(picture: &Picture) -> Self {
        // Whole record keys, which usually have 13 characters, as long as there is room for them.
        let label_chars = if picture.shapes.len() > 80 { 8 } else { 13 };
        let mut layout = Self {
            width: 0,
            height: 0,
            label_chars,
            chip_width: to_px(label_chars) * CHAR_WIDTH / 10 + 2 * CHIP_PAD,
            places: vec![Place::default(); picture.shapes.len()],
            rows: BTreeMap::new(),
        };
        // Shapes below come later, so in reverse order they come first.
        for (index, shape) in picture.shapes.iter().enumerate().rev() {
            let measured = if shape.has_below() {
                layout.bar(shape)
            } else {
                layout.column(shape)
            };
            if let Some(place) = layout.places.get_mut(index) {
                *place = measured;
            }
        }
        layout.stack_rows(picture);
        layout.spread(picture);
        layout
    }

    /// A box with keys below each other.
    fn column(&self, shape: &Shape) -> Place {
        let least = match shape.kind {
            Kind::Node | Kind::Closed => NAME_WIDTH,
            Kind::Missing(_) | Kind::Bad(_) => FAULT_WIDTH,
        };
        let width = (self.chip_width + 2 * BOX_PAD).max(least);
        let chips = to_px(shape.items.len());
        let chips = chips * CHIP_HEIGHT + (chips - 1).max(0) * CHIP_GAP;
        Place {
            span: width,
            width,
            height: HEAD + chips + 2 * BOX_PAD,
            items: vec![(width - self.chip_width) / 2; shape.items.len()],
            ..Place::default()
        }
    }

    /// A bar with keys and the shapes below between them, as close together as possible: a link
    /// runs straight down from the bar to the middle of the box below.
    fn bar(&self, shape: &Shape) -> Place {
        // How far the space is used, in the bar and below it.
        let (mut bar, mut below) = (BOX_PAD - ITEM_GAP, -ITEM_GAP);
        let mut start = i64::MAX;
        let mut items: Vec<i64> = Vec::new();
        // The keys since the last link, which are still to be centred between two links.
        let mut loose = 0;
        for item in &shape.items {
            match item {
                Item::Key(_) => {
                    let left = bar + ITEM_GAP;
                    start = start.min(left);
                    bar = left + self.chip_width;
                    items.push(left);
                    loose += 1;
                }
                Item::Below(index) => {
                    let Some(place) = self.places.get(*index) else {
                        continue;
                    };
                    let axis = place.axis();
                    let left = (below + ITEM_GAP).max(bar + ITEM_GAP + PORT_ROOM - axis);
                    let port = left + axis - PORT_ROOM;
                    let is_first = items.len() == loose;
                    let room = port - ITEM_GAP - bar;
                    let shift = if is_first { room } else { room / 2 };
                    for key in items.iter_mut().rev().take(loose) {
                        *key += shift;
                    }
                    if is_first {
                        start = items.first().copied().unwrap_or(port);
                    }
                    (bar, below) = (port + 2 * PORT_ROOM, left + place.span);
                    items.push(left);
                    loose = 0;
                }
            }
        }
        let room = (NAME_WIDTH - (bar - start)).max(0) / 2 + BOX_PAD;
        Place {
            span: below.max(bar + room),
            x: start - room,
            width: bar - start + 2 * room,
            height: HEAD + CHIP_HEIGHT + 2 * BOX_PAD,
            items,
            ..Place::default()
        }
    }

    fn stack_rows(&mut self, picture: &Picture) {
        for (shape, place) in picture.shapes.iter().zip(&self.places) {
            let row = self.rows.entry(std::cmp::Reverse(shape.height));
            let (_, height) = row.or_default();
            *height = place.height.max(*height);
        }
        let mut y = TOP + legend_height(picture);
        for (top, height) in self.rows.values_mut() {
            *height += ROW_GAP;
            *top = y;
            y += *height;
        }
        self.height = y + MARGIN;
    }

    /// Gives each shape its absolute position, from the top down.
    fn spread(&mut self, picture: &Picture) {
        if let Some(top) = self.places.first_mut() {
            top.left = LEFT;
            self.width = LEFT + top.span + MARGIN;
        }
        self.width = self.width.max(MIN_WIDTH);
        for (index, shape) in picture.shapes.iter().enumerate() {
            let row = self.rows.get(&std::cmp::Reverse(shape.height));
            let y = row.map_or(0, |(top, _)| top + ROW_GAP / 2);
            let Some(place) = self.places.get_mut(index) else {
                continue;
            };
            place.y = y;
            let left = place.left;
            let items = place.items.clone();
            for (item, offset) in shape.items.iter().zip(items) {
                if let Item::Below(below) = item
                    && let Some(below) = self.places.get_mut(*below)
                {
                    below.left = left + offset;
                }
            }
        }
    }

    /// Where a link from above ends at the shape with this index.
    fn port(&self, index: usize) -> (i64, i64) {
        let place = self.places.get(index);
        place.map_or((0, 0), |place| (place.middle(), place.y))
    }
}

fn write_head(picture: &Picture, out: &mut impl Write) -> io::Result<()> {
    let nodes = picture.shapes.iter();
    let nodes = nodes.filter(|shape| matches!(shape.kind, Kind::Node));
    let nodes = Counted(nodes.count() as u64, "node");
    let keys = Counted(picture.keys, "key");
    let commit = picture.commit;
    text(MARGIN, 30, "title", &picture.name, out)?;
    text(
        MARGIN,
        50,
        "",
        &format!("{nodes}, {keys}, commit {commit}"),
        out,
    )?;
    for (index, (name, color)) in legend(picture).enumerate() {
        let (column, row) = (to_px(index) % LEGEND_COLUMNS, to_px(index) / LEGEND_COLUMNS);
        let (x, y) = (MARGIN + column * LEGEND_WIDTH, TOP + row * LEGEND_LINE);
        writeln!(
            out,
            "<rect x=\"{x}\" y=\"{}\" width=\"12\" height=\"12\" rx=\"3\" fill=\"{color}\"/>",
            y - 10
        )?;
        let name = tail(&Harmless(name).to_string(), LEGEND_CHARS);
        text(x + 18, y, "", &name, out)?;
    }
    Ok(())
}

/// The names of the collections with their colours.
fn legend(picture: &Picture) -> impl Iterator<Item = (&str, &'static str)> {
    let names = picture.collections.iter().map(String::as_str);
    let others = picture.collections.len() > COLORS.len();
    let named = names.zip(COLORS);
    named.chain(others.then_some(("others", OTHER_COLOR)))
}

fn legend_height(picture: &Picture) -> i64 {
    let count = to_px(legend(picture).count());
    (count + LEGEND_COLUMNS - 1) / LEGEND_COLUMNS * LEGEND_LINE
}

fn write_rows(layout: &Layout, out: &mut impl Write) -> io::Result<()> {
    for (index, (height, (top, len))) in layout.rows.iter().enumerate() {
        if index % 2 == 0 {
            writeln!(
                out,
                "<rect y=\"{top}\" width=\"{}\" height=\"{len}\" fill=\"#f6f7f9\"/>",
                layout.width
            )?;
        }
        let label = format!("height {}", height.0);
        text(MARGIN, top + ROW_GAP / 2 + HEAD, "row", &label, out)?;
    }
    Ok(())
}

fn write_links(
    shape: &Shape,
    place: &Place,
    layout: &Layout,
    out: &mut impl Write,
) -> io::Result<()> {
    for item in &shape.items {
        if let Item::Below(below) = item {
            let (x, to) = layout.port(*below);
            let from = place.y + place.height - PORT_UP;
            writeln!(out, "<path class=\"link\" d=\"M{x} {from} V{to}\"/>")?;
        }
    }
    Ok(())
}

fn write_shape(
    shape: &Shape,
    place: &Place,
    picture: &Picture,
    layout: &Layout,
    out: &mut impl Write,
) -> io::Result<()> {
    let cid = shape.cid.map(|cid| cid.to_string()).unwrap_or_default();
    let height = shape.height;
    let (class, tip) = match &shape.kind {
        Kind::Node => ("node", format!("node {cid}, height {height}")),
        Kind::Closed => ("closed", format!("node {cid}, not shown")),
        Kind::Missing(what) => ("missing", what.clone()),
        Kind::Bad(what) => ("bad", what.clone()),
    };
    writeln!(out, "<g class=\"{class}\"><title>{}</title>", escaped(&tip))?;
    writeln!(
        out,
        "<rect class=\"box\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"6\"/>",
        place.start(),
        place.y,
        place.width,
        place.height
    )?;
    let name = match shape.kind {
        Kind::Node if shape.items.is_empty() => "no keys".to_owned(),
        _ => shape.name(),
    };
    text(place.middle(), place.y + HEAD - 1, "name", &name, out)?;
    let mut y = place.y + HEAD + BOX_PAD;
    for (item, offset) in shape.items.iter().zip(&place.items) {
        match item {
            Item::Key(key) => {
                write_key(key, place.left + offset, y, picture, layout, out)?;
                if !shape.has_below() {
                    y += CHIP_HEIGHT + CHIP_GAP;
                }
            }
            Item::Below(below) => {
                let (x, _) = layout.port(*below);
                let y = place.y + place.height - PORT_UP;
                writeln!(
                    out,
                    "<circle class=\"port\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>"
                )?;
            }
        }
    }
    writeln!(out, "</g>")
}

fn write_key(
    key: &Key,
    x: i64,
    y: i64,
    picture: &Picture,
    layout: &Layout,
    out: &mut impl Write,
) -> io::Result<()> {
    let (class, missing) = if key.is_there {
        ("key", "")
    } else {
        ("key absent", ", which is missing")
    };
    let color = color_of(key, picture);
    let tip = format!("{}\n{}{missing}", key.text, key.value);
    writeln!(out, "<g class=\"{class}\"><title>{}</title>", escaped(&tip))?;
    writeln!(
        out,
        "<rect x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{CHIP_HEIGHT}\" rx=\"4\" \
         fill=\"{color}\"/>",
        layout.chip_width
    )?;
    let (middle, base) = (x + layout.chip_width / 2, y + 13);
    text(middle, base, "label", &key.label(layout.label_chars), out)?;
    writeln!(out, "</g>")
}

fn color_of(key: &Key, picture: &Picture) -> &'static str {
    let name = key.collection();
    let index = picture
        .collections
        .iter()
        .position(|it| Some(&**it) == name);
    let color = index.and_then(|index| COLORS.get(index));
    color.copied().unwrap_or(OTHER_COLOR)
}

fn text(x: i64, y: i64, class: &str, text: &str, out: &mut impl Write) -> io::Result<()> {
    let text = escaped(text);
    if class.is_empty() {
        return writeln!(out, "<text x=\"{x}\" y=\"{y}\">{text}</text>");
    }
    writeln!(
        out,
        "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{text}</text>"
    )
}

/// Escapes text for XML. Line ends in it are our own, in tips.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for line in text.split_inclusive('\n') {
        let (line, end) = match line.strip_suffix('\n') {
            Some(line) => (line, "\n"),
            None => (line, ""),
        };
        for c in Harmless(line).to_string().chars() {
            match c {
                '&' => escaped.push_str("&amp;"),
                '<' => escaped.push_str("&lt;"),
                '>' => escaped.push_str("&gt;"),
                '"' => escaped.push_str("&quot;"),
                // Not allowed in XML.
                '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
                c => escaped.push(c),
            }
        }
        escaped.push_str(end);
    }
    escaped
}

fn to_px(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(0)
}

const MARGIN: i64 = 20;
/// The left end of the tree, right of the names of the rows.
const LEFT: i64 = 96;
/// The top of the legend, below the title.
const TOP: i64 = 76;
const MIN_WIDTH: i64 = 760;
/// In tenths of a pixel, for the font that is 11 pixels high.
const CHAR_WIDTH: i64 = 67;
const CHIP_PAD: i64 = 6;
const CHIP_HEIGHT: i64 = 18;
const CHIP_GAP: i64 = 2;
const BOX_PAD: i64 = 5;
/// The line with the name of a node.
const HEAD: i64 = 14;
/// The minimum width of a box, for its name; and with a word before the name.
const NAME_WIDTH: i64 = 64;
const FAULT_WIDTH: i64 = 108;
/// Between things side by side.
const ITEM_GAP: i64 = 10;
/// Between the rows, half of it above and half below.
const ROW_GAP: i64 = 36;
/// The space around the place where a link leaves a bar.
const PORT_ROOM: i64 = 8;
const PORT_UP: i64 = 6;
const LEGEND_COLUMNS: i64 = 3;
const LEGEND_WIDTH: i64 = 240;
const LEGEND_CHARS: usize = 33;
const LEGEND_LINE: i64 = 20;

const COLORS: [&str; 10] = [
    "#bfdbfe", "#fbcfe8", "#bbf7d0", "#fde68a", "#ddd6fe", "#fed7aa", "#a5f3fc", "#fecdd3",
    "#d9f99d", "#e9d5c0",
];
const OTHER_COLOR: &str = "#e5e7eb";

const STYLE: &str = "\
<style>
text { font: 11px ui-monospace, Menlo, Consolas, \"DejaVu Sans Mono\", monospace; fill: #374151; }
text.title { font-size: 15px; font-weight: bold; fill: #111827; }
text.row { fill: #6b7280; }
text.name { font-size: 10px; text-anchor: middle; fill: #6b7280; }
text.label { text-anchor: middle; fill: #111827; }
.box { fill: #fff; stroke: #9ca3af; }
.closed > .box { stroke-dasharray: 2 3; fill: #f9fafb; }
.missing > .box { stroke: #dc2626; stroke-dasharray: 6 3; fill: #fef2f2; }
.bad > .box { stroke: #dc2626; stroke-width: 2; fill: #fee2e2; }
.missing > .name, .bad > .name { fill: #b91c1c; }
.absent > rect { fill-opacity: 0.35; stroke: #9ca3af; stroke-dasharray: 3 2; }
.absent > .label { fill: #6b7280; }
.link { fill: none; stroke: #9ca3af; stroke-width: 1.25; }
.port { fill: #9ca3af; }
</style>
";
