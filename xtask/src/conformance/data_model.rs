//! `atproto-interop-tests/data-model`: values as JSON and as DAG-CBOR.

use atproto_mst::{Ipld, Json, dag_cbor_cid, decode_record, encode_record};
use data_encoding::BASE64_NOPAD;
use serde::Deserialize;
use serde_json::Value;

use super::{Report, Suite};
use crate::Result;

#[derive(Debug, Deserialize)]
struct Fixture {
    json: Value,
    cbor_base64: String,
    cid: String,
}

#[derive(Debug, Deserialize)]
struct Case {
    note: String,
    json: Value,
}

pub(super) fn run(suite: &Suite, report: &mut Report) -> Result<()> {
    let file = "data-model/data-model-fixtures.json";
    let before = report.cases;
    for fixture in suite.json::<Vec<Fixture>>(file)? {
        let checked = check_fixture(&fixture);
        report.case(checked.is_ok(), || {
            format!("{file}: {}: {checked:?}", fixture.cid)
        });
    }
    report.part("values and their blocks", before);

    for (list, expected) in [("valid", true), ("invalid", false)] {
        let file = format!("data-model/data-model-{list}.json");
        let before = report.cases;
        for case in suite.json::<Vec<Case>>(&file)? {
            let block = block_of(&case.json);
            report.case(block.is_ok() == expected, || {
                format!("{file}: {}: {block:?}", case.note)
            });
        }
        report.part(&format!("{list} values"), before);
    }
    Ok(())
}

/// The value has the block and the CID that the fixture names, and the block is that value.
fn check_fixture(fixture: &Fixture) -> Result<()> {
    let block = block_of(&fixture.json)?;
    if block != BASE64_NOPAD.decode(fixture.cbor_base64.as_bytes())? {
        return Err(format!("the block {}", BASE64_NOPAD.encode(&block)).into());
    }
    let cid = dag_cbor_cid(&block).to_string();
    if cid != fixture.cid {
        return Err(format!("the CID {cid}").into());
    }
    let value: Ipld = decode_record(&block)?;
    let json = serde_json::to_value(Json(value))?;
    if json != fixture.json {
        return Err(format!("back as {json}").into());
    }
    Ok(())
}

fn block_of(json: &Value) -> Result<Vec<u8>> {
    let Json(value) = Json::deserialize(json)?;
    Ok(encode_record(&value)?.into())
}
