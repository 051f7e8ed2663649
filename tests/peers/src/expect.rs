//! What the results must be, according to the generator of the data.

use std::path::Path;

use serde_json::Value;

use crate::{Result, workload::Workload};

/// The contents of `expect.json`: the roots of the trees, the numbers of records and blocks, and
/// for each kind of work the expected checksum.
#[derive(Debug)]
pub(crate) struct Expect(Value);

impl Expect {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        Ok(Self(serde_json::from_slice(&std::fs::read(path)?)?))
    }

    /// Returns what is wrong with a child's result; nothing if it is right. What an engine does
    /// not know, a null, is not compared.
    ///
    /// # Errors
    ///
    /// An expectation that is not in the file.
    pub(crate) fn fault(&self, workload: &Workload, result: &Value) -> Result<Option<String>> {
        let count = match workload.operations {
            Some(operations) => Value::from(operations),
            None => self.field(workload.expect.count)?.clone(),
        };
        let checks = [
            ("count", &count),
            ("root", self.field(workload.expect.root)?),
            ("checksum", self.field(workload.expect.checksum)?),
        ];
        Ok(checks.into_iter().find_map(|(name, expected)| {
            let found = result.get(name).filter(|found| !found.is_null())?;
            (found != expected).then(|| format!("{name} is {found}, not {expected}"))
        }))
    }

    fn field(&self, name: &str) -> Result<&Value> {
        self.0
            .get(name)
            .ok_or_else(|| format!("expect.json has no {name}").into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::WORKLOADS;

    #[test]
    fn a_result_is_right_only_with_count_root_and_checksum() {
        let expect = Expect(json!({ "root": "bafy", "count": 2, "checksum_records": "0a" }));
        let fault = |result| {
            expect
                .fault(&WORKLOADS[0], &result)
                .expect("all fields are there")
        };
        assert_eq!(
            fault(json!({ "root": "bafy", "count": 2, "checksum": "0a" })),
            None
        );
        assert_eq!(
            fault(json!({ "root": null, "count": 2, "checksum": null })),
            None
        );
        assert!(fault(json!({ "root": "bafy", "count": 1, "checksum": "0a" })).is_some());
        assert!(fault(json!({ "root": "bafk", "count": 2, "checksum": "0a" })).is_some());
        assert!(fault(json!({ "root": "bafy", "count": 2, "checksum": "0b" })).is_some());
    }
}
