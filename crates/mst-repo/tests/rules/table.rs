//! The table of rules, and how it is used.

use std::cell::RefCell;
use std::fmt::Debug;

use mst_repo::{Curve, EventError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::draft::Draft;

/// How many random messages each rule is broken in.
const CASES: u32 = 64;

/// The variants of an error, from the outside in, and the field that it is about.
pub(crate) fn reason(error: &impl Debug) -> String {
    let text = format!("{error:?}");
    let mut rest = text.as_str();
    let mut reason = Vec::new();
    loop {
        let end = rest.find(|c: char| !c.is_alphanumeric());
        let (name, after) = rest.split_at(end.unwrap_or(rest.len()));
        reason.push(name);
        let inner = ["source: ", "fault: "]
            .into_iter()
            .find_map(|word| Some(after.split_once(word)?.1));
        rest = match (after.strip_prefix('('), inner) {
            (Some(inner), _)
                if inner.starts_with(char::is_uppercase) && !inner.starts_with("Cid") =>
            {
                inner
            }
            (None, Some(inner)) => inner,
            _ => {
                let field = after.strip_prefix(" { field: \"");
                reason.extend(field.and_then(|field| field.split('"').next()));
                return reason.join(" ");
            }
        };
    }
}

/// A rule: its name, what breaks it, and the expected error.
pub(crate) struct Rule {
    name: String,
    /// Returns whether this message has anything to break it with.
    breaks: Box<dyn Fn(&mut Draft) -> bool>,
    reason: String,
}

pub(crate) fn rule(
    name: impl Into<String>,
    reason: impl Into<String>,
    breaks: impl Fn(&mut Draft) -> bool + 'static,
) -> Rule {
    Rule {
        name: name.into(),
        breaks: Box::new(breaks),
        reason: reason.into(),
    }
}

/// Breaks each rule in each of many random messages, `#commit` messages.
pub(crate) fn assert_enforced(rules: &[Rule]) {
    assert_enforced_by(&[Draft::check], rules);
}

/// How a message is checked: as a `#commit` or as a `#sync`.
pub(crate) type Check = fn(&Draft) -> Result<(), EventError>;

/// Breaks each rule in each of many random messages; each check must return the expected error.
pub(crate) fn assert_enforced_by(checks: &[Check], rules: &[Rule]) {
    let broken = RefCell::new(vec![0; rules.len()]);
    let config = Config {
        failure_persistence: None,
        ..Config::with_cases(CASES)
    };
    // The first commits, and small trees, are as likely as those after some more.
    let commits = prop_oneof![Just(0), 0..12_usize];
    let cases = (any::<u64>(), commits, any::<bool>());
    let result = TestRunner::new(config).run(&cases, |(seed, commits, k256)| {
        let curve = if k256 { Curve::K256 } else { Curve::P256 };
        let valid = Draft::new(seed, commits, curve);
        for check in checks {
            prop_assert!(check(&valid).is_ok(), "{:?}", check(&valid));
        }
        let mut wrong = Vec::new();
        for (at, rule) in rules.iter().enumerate() {
            let mut draft = valid.clone();
            if !(rule.breaks)(&mut draft) {
                continue;
            }
            broken.borrow_mut()[at] += 1;
            for check in checks {
                let found = match check(&draft) {
                    Ok(()) => "nothing".to_owned(),
                    Err(error) => reason(&error),
                };
                if found != rule.reason {
                    wrong.push(format!("{}: {found}, not {}", rule.name, rule.reason));
                }
            }
        }
        prop_assert!(wrong.is_empty(), "{wrong:#?}");
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
    for (rule, broken) in rules.iter().zip(broken.into_inner()) {
        println!("{}: {broken} times", rule.name);
        assert!(broken > 0, "{} was never broken", rule.name);
    }
}
