//! What is printed on success.

use mst_testkit::SampleRepository;
use serde_json::{Value, json};

use crate::support::{car_without, cartool, listing, repository_of, repository_of_key};

#[test]
fn list_prints_each_path_with_its_cid() {
    let sample = SampleRepository::generate(1, 200);
    let run = cartool(&["list", "FILE"], &sample.car());
    assert_eq!((run.code, &*run.err), (0, ""));
    assert_eq!(run.lines(), listing(&sample));
}

#[test]
fn the_order_of_the_blocks_changes_nothing() {
    let sample = SampleRepository::generate(1, 200);
    let run = cartool(&["list", "FILE"], &sample.shuffled_car(9));
    assert_eq!(run.lines(), listing(&sample));
}

#[test]
fn list_in_reverse_is_the_list_backwards() {
    let sample = SampleRepository::generate(2, 200);
    let run = cartool(&["list", "--reverse", "FILE"], &sample.car());
    let mut expected = listing(&sample);
    expected.reverse();
    assert_eq!(run.lines(), expected);
}

#[test]
fn a_collection_is_listed_alone_both_ways() {
    let sample = SampleRepository::generate(3, 300);
    for collection in [
        "app.bsky.actor.profile",
        "app.bsky.feed.like",
        "app.bsky.feed.post",
        "app.bsky.graph.follow",
        "app.bsky.feed.none",
    ] {
        let mut expected = listing(&sample);
        expected.retain(|line| line.starts_with(&format!("\"{collection}/")));
        let args = ["list", "FILE", "--collection", collection];
        assert_eq!(cartool(&args, &sample.car()).lines(), expected);

        expected.reverse();
        let args = ["list", "FILE", "-r", "-c", collection];
        assert_eq!(cartool(&args, &sample.car()).lines(), expected);

        let dumped = |more: &[&str]| {
            let args = ["dump", "FILE", "--jsonl", "-c", collection];
            cartool(&[&args, more].concat(), &sample.car())
        };
        let (forward, back) = (dumped(&[]), dumped(&["-r"]));
        assert_eq!(back.lines().len(), expected.len());
        assert!(
            back.lines()
                .into_iter()
                .eq(forward.lines().into_iter().rev())
        );
        let none = format!("cartool: note: no records of {collection}\n");
        assert_eq!(back.err, if expected.is_empty() { &none } else { "" });
    }
}

#[test]
fn dump_prints_indented_json_with_all_but_ascii_escaped() {
    // {"text": "ü🌳", "$type": "x", "empty": {}}
    let block = b"\xa3\x64text\x66\xc3\xbc\xf0\x9f\x8c\xb3\x65$type\x61x\x65empty\xa0";
    let car = repository_of(&[("com.example.thing/1", block)]).car();
    let run = cartool(&["dump", "FILE"], &car);
    let expected = r#""com.example.thing/1" -> {
  "text": "\u00fc\ud83c\udf33",
  "$type": "x",
  "empty": {}
}
"#;
    assert_eq!((run.code, &*run.out), (0, expected));
}

#[test]
fn dump_as_lines_is_readable_and_says_the_same() {
    let sample = SampleRepository::generate(4, 100);
    let lines = cartool(&["dump", "--jsonl", "FILE"], &sample.car());
    let indented = cartool(&["dump", "FILE"], &sample.car());
    assert_eq!((lines.code, indented.code), (0, 0));
    assert!(lines.out.contains("über"));
    assert!(indented.out.contains("\\u00fcber") && indented.out.is_ascii());

    let mut again = String::new();
    let mut count = 0;
    for ((path, cid), line) in sample.paths.iter().zip(lines.lines()) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["path"], **path);
        assert_eq!(line["cid"], cid.to_string());
        assert!(line["value"]["$type"].is_string());
        again.push_str(path);
        count += 1;
    }
    assert_eq!(count, sample.paths.len());
    let headings = indented.lines();
    let headings = headings.iter().filter(|line| line.contains("\" -> {"));
    assert_eq!(headings.count(), count);
}

#[test]
fn links_bytes_and_great_numbers_have_their_json_forms() {
    let cid = atproto_mst::raw_cid(b"a blob");
    let mut block = b"\xa3\x61a\x43\xfb\xff\xfe\x61b\xd8\x2a\x58\x25\x00".to_vec();
    block.extend(cid.to_bytes());
    block.extend(
        b"\x61c\x82\x1b\xff\xff\xff\xff\xff\xff\xff\xff\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
    );
    let car = repository_of(&[("com.example.thing/1", &block)]).car();
    let run = cartool(&["dump", "--jsonl", "FILE"], &car);
    let value = format!(
        r#""value":{{"a":{{"$bytes":"+//+"}},"b":{{"$link":"{cid}"}},"c":[18446744073709551615,-18446744073709551616]}}}}"#
    );
    assert!(run.out.trim_end().ends_with(&value), "{}", run.out);
}

#[test]
fn get_prints_a_record_or_its_bytes() {
    let sample = SampleRepository::generate(5, 50);
    let path = "app.bsky.actor.profile/self";
    let run = cartool(&["get", "FILE", path], &sample.car());
    let value: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(
        (run.code, &value["displayName"]),
        (0, &json!("A made-up person"))
    );

    let run = cartool(&["get", "--raw", "FILE", path], &sample.car());
    assert_eq!(
        (run.code, run.raw_out),
        (0, sample.records[&sample.paths[path]].to_vec())
    );
}

#[test]
fn get_finds_keys_that_are_no_paths_too() {
    let car = repository_of_key(b"no path", b"\xa0").car();
    assert_eq!(cartool(&["get", "FILE", "no path"], &car).out, "{}\n");
}

#[test]
fn verify_prints_one_line_about_a_whole_repository() {
    let sample = SampleRepository::generate(6, 100);
    let run = cartool(&["verify", "FILE"], &sample.car());
    let expected = format!("ok: 100 records, {} nodes\n", sample.tree.nodes.len());
    assert_eq!((run.code, &*run.out, &*run.err), (0, &*expected, ""));
}

#[test]
fn info_counts_what_is_there() {
    let sample = SampleRepository::generate(7, 100);
    let mut blocks = sample.blocks();
    // One block twice, and one that is unreferenced.
    blocks.push(blocks[3].clone());
    blocks.push((atproto_mst::raw_cid(b"alone"), b"alone".as_slice().into()));
    let car = sample.car_of(&blocks);
    let run = cartool(&["info", "--json", "FILE"], &car);
    let info: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!((run.code, &*run.err), (0, ""));
    assert_eq!(info["size"], car.len());
    assert_eq!(info["sections"], blocks.len());
    assert_eq!(info["blocks"], blocks.len() - 1);
    assert_eq!(info["roots"], json!([sample.commit.0.to_string()]));
    assert_eq!(info["commit"]["did"], "did:plc:ewvi7nxzyoun6zhxrhs64oiz");
    assert_eq!(info["commit"]["version"], 3);
    assert_eq!(info["commit"]["data"], sample.tree.root.to_string());
    assert_eq!(info["nodes"], sample.tree.nodes.len());
    assert_eq!(info["records"], 100);
    assert_eq!(info["unreferenced"], 1);
    assert_eq!(info["missing_nodes"], 0);
    assert_eq!(info["collections"]["app.bsky.actor.profile"], 1);
    let counts = info["collections"].as_object().unwrap().values();
    assert_eq!(
        counts.map(|count| count.as_u64().unwrap()).sum::<u64>(),
        100
    );

    let text = cartool(&["info", "FILE"], &car).out;
    for line in [
        "Rev:          ",
        "Records:      100\n",
        "Unreferenced: 1\n",
        "   1 app.bsky.actor.profile\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("Missing"));
}

#[test]
fn info_tells_what_is_missing_and_ends_well() {
    let sample = SampleRepository::generate(8, 60);
    let path = "app.bsky.actor.profile/self";
    let run = cartool(
        &["info", "FILE"],
        &car_without(&sample, &sample.paths[path]),
    );
    assert_eq!((run.code, &*run.err), (0, ""));
    assert!(
        run.out.contains("Missing:      1 record, 0 nodes\n"),
        "{}",
        run.out
    );
    assert!(run.out.contains("Records:      59\n"));
}
