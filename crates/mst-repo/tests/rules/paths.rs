//! The paths. Source: <https://atproto.com/specs/nsid>, <https://atproto.com/specs/record-key>

use mst_repo::Action;
use mst_testkit::Rng;

use crate::table::{assert_enforced, rule};

#[test]
fn each_rule_about_paths_is_enforced_for_its_own_sake() {
    /// A collection and a record key, altered.
    type Alter = fn(&mut Rng, &mut Vec<String>, &mut String);
    const BAD: [char; 12] = ['_', ' ', '*', '@', '#', '%', '\0', 'é', '💩', '+', '~', ':'];
    let table: [(&str, &str, Alter); 17] = [
        (
            "an NSID has three segments",
            "Collection Segments",
            |_, nsid, _| nsid.truncate(2),
        ),
        (
            "and 317 characters at most",
            "Collection TooLong",
            |rng, nsid, _| {
                let label = "a".repeat(50 + rng.below(14));
                nsid.splice(1..1, vec![label; 7]);
            },
        ),
        (
            "none of them empty",
            "Collection SegmentLen",
            |rng, nsid, _| {
                let at = rng.below(nsid.len());
                nsid[at].clear();
            },
        ),
        (
            "none longer than 63 characters",
            "Collection SegmentLen",
            |rng, nsid, _| {
                let at = rng.below(nsid.len());
                nsid[at] = "a".repeat(64 + rng.below(40));
            },
        ),
        (
            "of ASCII letters, digits, hyphens",
            "Collection Character",
            |rng, nsid, _| {
                let at = rng.below(nsid.len());
                nsid[at].push(BAD[rng.below(BAD.len())]);
            },
        ),
        (
            "no hyphen in the name",
            "Collection Character",
            |_, nsid, _| {
                nsid.last_mut().unwrap().push_str("-a");
            },
        ),
        ("nor in front", "Collection SegmentEdge", |rng, nsid, _| {
            let at = rng.below(nsid.len() - 1);
            nsid[at].insert(0, '-');
        }),
        ("nor behind", "Collection SegmentEdge", |rng, nsid, _| {
            let at = rng.below(nsid.len() - 1);
            nsid[at].push('-');
        }),
        (
            "no digit in front of all",
            "Collection SegmentEdge",
            |rng, nsid, _| {
                nsid[0].insert_str(0, &rng.below(10).to_string());
            },
        ),
        (
            "nor of the name",
            "Collection SegmentEdge",
            |rng, nsid, _| {
                let digit = rng.below(10).to_string();
                nsid.last_mut().unwrap().insert_str(0, &digit);
            },
        ),
        (
            "a record key is not empty",
            "RecordKey Len",
            |_, _, rkey| rkey.clear(),
        ),
        (
            "nor longer than 512 characters",
            "RecordKey Len",
            |rng, _, rkey| {
                *rkey = "a".repeat(513 + rng.below(100));
            },
        ),
        (
            "of some characters",
            "RecordKey Character",
            |rng, _, rkey| {
                let bad = [' ', '*', '@', '#', '%', '\0', 'é', '💩', '+', '\\'];
                rkey.push(bad[rng.below(bad.len())]);
            },
        ),
        ("and no dots alone", "RecordKey Dots", |rng, _, rkey| {
            *rkey = ".".repeat(1 + rng.below(2));
        }),
        ("a path has no third segment", "Segments", |_, _, rkey| {
            rkey.push_str("/a");
        }),
        ("nor an empty one in front", "Segments", |_, nsid, _| {
            nsid[0].insert(0, '/');
        }),
        ("nor behind", "Segments", |_, _, rkey| rkey.push('/')),
    ];
    let rules = table.map(|(name, reason, alter)| {
        rule(name, format!("Invalid Path {reason}"), move |draft| {
            let Some(at) = draft.op(Action::Create) else {
                return false;
            };
            let path = draft.event.ops[at].path.clone();
            let (nsid, rkey) = path.split_once('/').unwrap();
            let mut nsid = nsid.split('.').map(str::to_owned).collect();
            let mut rkey = rkey.to_owned();
            alter(&mut draft.rng, &mut nsid, &mut rkey);
            let path = format!("{}/{rkey}", nsid.join("."));
            draft.event.ops[at].path = path;
            // The tree has it, as somebody who does not check might make it.
            draft.remake();
            true
        })
    });
    assert_enforced(&rules);
}
