//! Trees as they are shown. The dangers: a gap that is invisible; a key that breaks out of the
//! picture; a picture without bounds.

use atproto_mst::Node;
use mst_testkit::SampleRepository;

use crate::support::{car_damaged_at, car_without, cartool, repository_of, repository_of_key};

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[test]
fn text_shows_every_node_and_key_in_order() {
    let sample = SampleRepository::generate(111, 150);
    let run = cartool(&["tree", "FILE"], &sample.car());
    assert_eq!((run.code, &*run.err), (0, ""));
    let lines = run.lines();
    assert_eq!(lines[0], format!("commit {}", sample.commit.0));
    assert!(lines[1].starts_with(&format!("node {} height ", sample.tree.root)));
    assert_eq!(lines.len(), 1 + sample.tree.nodes.len() + 150);
    let keys: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split('"').nth(1))
        .collect();
    assert_eq!(keys, sample.paths.keys().collect::<Vec<_>>());
    for (cid, block) in &sample.tree.nodes {
        // A key is indented one step further than its node.
        let at = lines
            .iter()
            .position(|line| line.contains(&format!("node {cid} ")))
            .unwrap();
        let indent = |line: &str| line.len() - line.trim_start().len();
        for entry in Node::decode(block).unwrap().entries() {
            let key = format!("\"{}\"", String::from_utf8_lossy(entry.key()));
            let line = lines.iter().find(|line| line.contains(&key)).unwrap();
            assert_eq!(indent(line), indent(lines[at]) + 2);
        }
    }
}

#[test]
fn gaps_are_shown_in_every_form_and_are_no_error() {
    let sample = SampleRepository::generate(112, 60);
    let (node, _) = sample
        .tree
        .nodes
        .iter()
        .find(|(cid, _)| *cid != sample.tree.root)
        .unwrap();
    let car = car_without(&sample, node);
    for (format, mark) in [
        ("text", format!("missing node {node} (keys ")),
        ("dot", format!("missing node {node} (keys ")),
        ("svg", "<g class=\"missing\">".to_owned()),
    ] {
        let run = cartool(&["tree", "FILE", "--format", format], &car);
        assert_eq!((run.code, &*run.err), (0, ""), "{format}");
        assert_eq!(count(&run.out, &mark), 1, "{format}: {}", run.out);
        let run = cartool(
            &["tree", "FILE", "--format", format],
            &car_damaged_at(&sample, node),
        );
        assert_eq!(run.code, 1, "{format}");
        assert!(run.out.contains("bad node"), "{format}");
        let run = cartool(
            &["tree", "FILE", "--format", format],
            &car_without(&sample, &sample.tree.root),
        );
        assert_eq!(run.code, 0, "{format}");
        assert!(run.out.contains("(all keys)"), "{format}");
    }
    let record = sample.paths.values().next().unwrap();
    let run = cartool(&["tree", "FILE"], &car_without(&sample, record));
    assert_eq!((run.code, count(&run.out, "(missing)")), (0, 1));
}

#[test]
fn depth_and_prefix_close_what_is_beyond() {
    let sample = SampleRepository::generate(113, 400);
    let top = cartool(&["tree", "FILE", "--depth", "0"], &sample.car());
    assert_eq!(count(&top.out, " height "), 1);
    assert!(count(&top.out, "closed node") > 0);
    let all = cartool(&["tree", "FILE", "--depth", "200"], &sample.car());
    assert_eq!(count(&all.out, "closed node"), 0);

    let prefix = "app.bsky.feed.post/";
    let some = cartool(&["tree", "FILE", "--prefix", prefix], &sample.car());
    let posts = sample
        .paths
        .keys()
        .filter(|path| path.starts_with(prefix))
        .count();
    assert_eq!(count(&some.out, prefix), posts);
    assert!(some.lines().len() < all.lines().len() / 2);
    assert!(count(&some.out, "closed node") > 0);
}

#[test]
fn a_picture_has_every_node_key_and_link_once() {
    let sample = SampleRepository::generate(114, 120);
    let svg = cartool(&["tree", "FILE", "-f", "svg"], &sample.car()).out;
    let nodes = sample.tree.nodes.len();
    assert_eq!(count(&svg, "<g class=\"node\">"), nodes);
    assert_eq!(count(&svg, "<g class=\"key\">"), 120);
    assert_eq!(count(&svg, "class=\"link\""), nodes - 1);
    for path in sample.paths.keys() {
        assert_eq!(count(&svg, &format!("<title>{path}\n")), 1);
    }
    let dot = cartool(&["tree", "FILE", "-f", "dot"], &sample.car()).out;
    assert_eq!(count(&dot, " -> "), nodes - 1);
    assert_eq!(count(&dot, "tooltip="), nodes);
}

#[test]
fn keys_stay_within_the_picture() {
    let hostile = b"a.b/</title><script>\"'&|{}\\n\x1b]\xff\n\xe2\x80\xae";
    let car = repository_of_key(hostile, b"\xa0").car();
    let svg = cartool(&["tree", "FILE", "-f", "svg"], &car);
    assert_eq!(svg.code, 0);
    assert!(!svg.out.contains("<script"), "{}", svg.out);
    assert!(
        svg.out.contains("&lt;/title&gt;&lt;script&gt;&quot;"),
        "{}",
        svg.out
    );
    let dot = cartool(&["tree", "FILE", "-f", "dot"], &car);
    for run in [svg, dot, cartool(&["tree", "FILE"], &car)] {
        assert!(!run.out.contains(['\u{1b}', '\u{202e}']));
    }
}

#[test]
fn too_large_a_picture_is_refused_and_a_part_of_it_is_not() {
    let sample = SampleRepository::generate(115, 11_000);
    for format in ["svg", "dot"] {
        let run = cartool(&["tree", "FILE", "-f", format], &sample.car());
        assert_eq!((run.code, &*run.out), (2, ""));
        assert!(run.err.contains("--depth"), "{}", run.err);
        let run = cartool(&["tree", "FILE", "-f", format, "-d", "1"], &sample.car());
        assert_eq!(run.code, 0, "{}", run.err);
    }
    assert_eq!(cartool(&["tree", "FILE"], &sample.car()).code, 0);
}

#[test]
fn trees_of_nothing_and_of_one_have_a_picture() {
    for sample in [
        SampleRepository::generate(116, 0),
        repository_of(&[("a.b/c", b"\xa0")]),
    ] {
        for format in ["text", "svg", "dot"] {
            let run = cartool(&["tree", "FILE", "-f", format], &sample.car());
            assert_eq!((run.code, &*run.err), (0, ""));
        }
    }
}
