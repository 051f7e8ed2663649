//! The nodes, here the top one. Source: <https://atproto.com/specs/repository#mst-structure>

use std::collections::BTreeMap;

use blockstore_core::{Bytes, Cid, raw_cid};
use ipld_core::ipld::Ipld;
use mst_node::{Node, height_of};

use crate::draft::{decode, encode, is_among};
use crate::table::{assert_enforced, rule};

#[test]
fn each_rule_about_nodes_is_enforced_for_its_own_sake() {
    fn text(entry: &BTreeMap<String, Ipld>) -> Vec<u8> {
        match &entry["k"] {
            Ipld::Bytes(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    }
    let encoding =
        |fault: &str| format!("Invalid Inversion Tree InvalidNode Encoding DecodeError {fault}");
    let tree = |fault: &str| format!("Invalid Inversion Tree InvalidTree {fault}");
    let rules = [
        rule("a node is whole", encoding("UnexpectedEnd"), |draft| {
            let mut block = draft.top().to_vec();
            block.pop();
            draft.replace_top(block)
        }),
        rule("nothing follows it", encoding("TrailingBytes"), |draft| {
            let block = [&draft.top(), b"\xf6".as_slice()].concat();
            draft.replace_top(block)
        }),
        rule("it is a node", encoding("WrongType"), |draft| {
            draft.replace_top(encode(&Ipld::List(vec![])))
        }),
        rule("with two fields", encoding("FieldCount"), |draft| {
            let Ipld::Map(mut fields) = decode(&draft.top()) else {
                return false;
            };
            match draft.rng.below(3) {
                0 => fields.remove("e"),
                1 => fields.remove("l"),
                _ => fields.insert("x".into(), Ipld::Null),
            };
            draft.replace_top(encode(&Ipld::Map(fields)))
        }),
        rule("`e` and `l`", encoding("FieldName"), |draft| {
            let Ipld::Map(mut fields) = decode(&draft.top()) else {
                return false;
            };
            let left = fields.remove("l").unwrap();
            fields.insert("x".into(), left);
            draft.replace_top(encode(&Ipld::Map(fields)))
        }),
        rule("an entry has four", encoding("FieldCount"), |draft| {
            let field = ["k", "p", "t", "v"][draft.rng.below(4)];
            draft.alter_top(|_, entries| {
                entries
                    .last_mut()
                    .is_some_and(|entry| entry.remove(field).is_some())
            })
        }),
        rule("and not five", encoding("FieldCount"), |draft| {
            draft.alter_top(|_, entries| {
                let entry = entries.last_mut();
                entry.is_some_and(|entry| entry.insert("x".into(), Ipld::Null).is_none())
            })
        }),
        rule("a link is tag 42", encoding("NotALink"), |draft| {
            let mut block = draft.top().to_vec();
            let tag = block.windows(3).position(|three| three == [0xd8, 42, 0x58]);
            let Some(tag) = tag else {
                return false;
            };
            block[tag + 1] = 43;
            draft.replace_top(block)
        }),
        rule(
            "over bytes that begin with 0",
            encoding("LinkPrefix"),
            |draft| {
                let mut block = draft.top().to_vec();
                let tag = block
                    .windows(5)
                    .position(|five| five == [0xd8, 42, 0x58, 37, 0]);
                let Some(tag) = tag else {
                    return false;
                };
                block[tag + 4] = 1;
                draft.replace_top(block)
            },
        ),
        rule(
            "subtrees are dag-cbor, sha2-256",
            encoding("SubtreeCid"),
            |draft| {
                draft.alter_top(|left, _| {
                    *left = Ipld::Link(raw_cid(b""));
                    true
                })
            },
        ),
        rule(
            "the first prefix is 0",
            encoding("PrefixTooLong"),
            |draft| {
                draft.alter_top(|_, entries| {
                    let entry = entries.first_mut();
                    entry.is_some_and(|entry| entry.insert("p".into(), Ipld::Integer(1)).is_some())
                })
            },
        ),
        rule(
            "no prefix is longer than the key before",
            encoding("PrefixTooLong"),
            |draft| {
                let len = [831, 1 << 16, (1 << 32) + 1][draft.rng.below(3)];
                draft.alter_top(|_, entries| {
                    let entry = entries.get_mut(1);
                    entry
                        .is_some_and(|entry| entry.insert("p".into(), Ipld::Integer(len)).is_some())
                })
            },
        ),
        rule("nor less than 0", encoding("WrongType"), |draft| {
            draft.alter_top(|_, entries| {
                let entry = entries.first_mut();
                entry.is_some_and(|entry| entry.insert("p".into(), Ipld::Integer(-1)).is_some())
            })
        }),
        rule(
            "nor shorter than what is shared",
            encoding("PrefixTooShort"),
            |draft| {
                draft.alter_top(|_, entries| {
                    let before = entries.first().map(text);
                    let (Some(before), Some(entry)) = (before, entries.get_mut(1)) else {
                        return false;
                    };
                    let Ipld::Integer(len) = entry["p"] else {
                        panic!("a number");
                    };
                    let len = usize::try_from(len).unwrap();
                    if len == 0 {
                        return false;
                    }
                    let key = [&before[len - 1..len], &text(entry)].concat();
                    entry.insert("k".into(), Ipld::Bytes(key));
                    entry.insert("p".into(), Ipld::Integer(i128::try_from(len).unwrap() - 1));
                    true
                })
            },
        ),
        rule("no key is empty", encoding("InvalidKey Empty"), |draft| {
            draft.alter_top(|_, entries| {
                let entry = entries.first_mut();
                entry.is_some_and(|entry| entry.insert("k".into(), Ipld::Bytes(vec![])).is_some())
            })
        }),
        rule("none comes twice", encoding("KeyOrder"), |draft| {
            draft.alter_top(|_, entries| {
                let Some(mut again) = entries.first().cloned() else {
                    return false;
                };
                let len = text(&again).len();
                again.insert("p".into(), Ipld::Integer(len.try_into().unwrap()));
                again.insert("k".into(), Ipld::Bytes(vec![]));
                entries.insert(1, again);
                true
            })
        }),
        rule("they ascend", encoding("KeyOrder"), |draft| {
            draft.alter_top(|_, entries| {
                let Some(mut lower) = entries.first().cloned() else {
                    return false;
                };
                let mut key = text(&lower);
                let last = key.len() - 1;
                key[last] -= 1;
                lower.insert("p".into(), Ipld::Integer(last.try_into().unwrap()));
                lower.insert("k".into(), Ipld::Bytes(vec![key[last]]));
                entries.insert(1, lower);
                true
            })
        }),
        rule(
            "they have one height",
            "Invalid Inversion Tree InvalidNode MixedHeights MixedHeights",
            |draft| {
                draft.alter_top(|_, entries| {
                    let [only] = entries.as_slice() else {
                        return false;
                    };
                    let before = text(only);
                    let higher =
                        (0..).map(|n| [before.as_slice(), format!("{n}").as_bytes()].concat());
                    let mut higher = higher.filter(|key| height_of(key) != height_of(&before));
                    let mut entry = only.clone();
                    let key = higher.next().unwrap()[before.len()..].to_vec();
                    entry.insert("p".into(), Ipld::Integer(before.len().try_into().unwrap()));
                    entry.insert("k".into(), Ipld::Bytes(key));
                    entries.push(entry);
                    true
                })
            },
        ),
        rule("the top has keys", tree("TopWithoutKeys"), |draft| {
            let top = Ipld::Link(draft.commit.data);
            draft.alter_top(|left, entries| {
                *left = top;
                !std::mem::take(entries).is_empty()
            })
        }),
        rule("nothing is below height 0", tree("BelowBottom"), |draft| {
            let top = Ipld::Link(draft.commit.data);
            draft.top_height() == Some(0)
                && draft.alter_top(|left, _| {
                    *left = top;
                    true
                })
        }),
        rule("a subtree is one level lower", tree("Height"), |draft| {
            let top = Ipld::Link(draft.commit.data);
            draft.top_height() > Some(0)
                && draft.alter_top(|left, _| {
                    *left = top;
                    true
                })
        }),
        rule("and not empty", tree("Empty"), |draft| {
            let empty = Node::empty();
            let (cid, block) = (empty.cid(), Bytes::from(empty.encode()));
            draft.blocks.push((cid, block));
            draft.top_height() > Some(0)
                && draft.alter_top(|left, _| {
                    *left = Ipld::Link(cid);
                    true
                })
        }),
        rule(
            "it is less than the key on its right",
            tree("KeyNotLess"),
            |draft| {
                let there: Vec<Cid> = draft.blocks.iter().map(|(cid, _)| *cid).collect();
                draft.alter_top(|left, entries| {
                    let mut rights = entries.iter().map(|entry| entry["t"].clone());
                    let right = rights.find(|right| is_among(right, &there));
                    right.map(|right| *left = right).is_some()
                })
            },
        ),
        rule(
            "and greater than that on its left",
            tree("KeyNotGreater"),
            |draft| {
                let there: Vec<Cid> = draft.blocks.iter().map(|(cid, _)| *cid).collect();
                draft.alter_top(|left, entries| {
                    let last = entries.last_mut().filter(|_| is_among(left, &there));
                    last.map(|last| last.insert("t".into(), left.clone()))
                        .is_some()
                })
            },
        ),
    ];
    assert_enforced(&rules);
}
