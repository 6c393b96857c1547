//! What a transaction's body may hold, what it comes to, and what each mistake is called.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::wire::tests::reads;
use axon_core::txn::{Compare, Op};
use axon_core::types::KeyValue;
use proptest::prelude::*;

fn fault(body: &str) -> Fault {
    parse(body.as_bytes()).expect_err(body)
}

#[test]
fn a_request_is_read_as_documented() {
    let txn = parse(include_bytes!("../../../tests/fixtures/txn_request.json")).unwrap();
    let expected = Txn {
        when: vec![Compare::absent("t1")],
        then: vec![
            Op::put("t1", "1"),
            Op::delete("t2"),
            Op::delete_range(KeyRange::prefix("tmp/")),
        ],
        or_else: vec![Op::get("t1")],
    };
    assert_eq!(txn, expected);
    assert_eq!(parse(b"{}"), Ok(Txn::default()));
}

#[test]
fn every_target_relation_and_encoding_is_understood() {
    let body = r#"{"compare":[
        {"key":"a","target":"version","op":">","version":1},
        {"key":"a","target":"create_revision","op":"<","create_revision":2},
        {"key":"a","target":"mod_revision","op":"!=","mod_revision":3},
        {"key":"/w==","key_encoding":"base64","target":"value","op":"=","value":"AP8=","encoding":"base64"}],
      "success":[{"txn":{"failure":[
        {"put":{"key":"/w==","key_encoding":"base64","value":"AA==","encoding":"base64"}},
        {"delete_range":{"start":"YQ==","end":"/w==","key_encoding":"base64"}}]}}]}"#;
    let txn = parse(body.as_bytes()).unwrap();
    let when = [
        Compare::version("a", Relation::Greater, 1),
        Compare::create_revision("a", Relation::Less, Revision(2)),
        Compare::mod_revision("a", Relation::NotEqual, Revision(3)),
        Compare::value(&b"\xff"[..], Relation::Equal, &b"\x00\xff"[..]),
    ];
    assert_eq!(txn.when, when);
    let [Op::Txn(inner)] = &txn.then[..] else { panic!("{txn:?}") };
    assert_eq!(inner.or_else[0], Op::put(&b"\xff"[..], &b"\0"[..]));
    let Op::DeleteRange { range } = &inner.or_else[1] else { panic!("{inner:?}") };
    assert!(range.contains(b"a") && range.contains(b"b") && !range.contains(b"\xff"));
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    let cases = [
        ("[]", ".", "an object"),
        ("", ".", "EOF"),
        ("{} {}", ".", "trailing"),
        (r#"{"then":[]}"#, "then", "unknown field"),
        (r#"{"success":{}}"#, "success", "a list"),
        (r#"{"success":[["put"]]}"#, "success[0]", "expected"),
        (r#"{"success":[{"put":{"key":"a"}}]}"#, "success[0].put", "missing field `value`"),
        (r#"{"success":[{"put":["a","b"]}]}"#, "success[0].put", "an object"),
        (r#"{"success":[{"put":{"key":1,"value":""}}]}"#, "success[0].put.key", "a string"),
        (r#"{"success":[{"get":{"key":"a","x":1}}]}"#, "success[0].get.x", "unknown field"),
        (r#"{"success":[{"get":{"key":"a"},"put":{}}]}"#, "success[0]", ""),
        (r#"{"failure":[{"get":{"key":"a"}},{"pop":{}}]}"#, "failure[1]", "variant `pop`"),
        (r#"{"success":[{"txn":{"failure":[{}]}}]}"#, "success[0].txn.failure[0]", ""),
        (r#"{"success":[{"txn":[]}]}"#, "success[0].txn", "an object"),
        (
            r#"{"success":[{"get":{"key":"a","key_encoding":"hex"}}]}"#,
            "success[0].get.key_encoding",
            "`base64`",
        ),
        (
            r#"{"success":[{"get":{"key":"*","key_encoding":"base64"}}]}"#,
            "success[0].get",
            "`key` is not base64",
        ),
        (r#"{"success":[{"delete_range":{}}]}"#, "success[0].delete_range", "every key"),
        (r#"{"success":[{"delete_range":{"prefix":""}}]}"#, "success[0].delete_range", "every"),
        (
            r#"{"success":[{"delete_range":{"prefix":"a","start":"b"}}]}"#,
            "success[0].delete_range",
            "`prefix`",
        ),
        (
            r#"{"success":[{"delete_range":{"start":"b","end":"a"}}]}"#,
            "success[0].delete_range",
            "`end`",
        ),
    ];
    for (body, place, reason) in cases {
        let fault = fault(body);
        assert_eq!(fault.place, place, "{body}: {fault:?}");
        assert!(fault.reason.contains(reason), "{body}: {fault:?}");
        assert!(!fault.in_compare, "{body}: {fault:?}");
    }
}

#[test]
fn a_malformed_compare_is_told_apart() {
    let compares = [
        r#"{"key":"a","target":"version","op":"="}"#,
        r#"{"key":"a","target":"version","op":"=","mod_revision":1}"#,
        r#"{"key":"a","target":"version","op":"=","version":1,"value":"x"}"#,
        r#"{"key":"a","target":"version","op":"=","version":1,"encoding":"base64"}"#,
        r#"{"key":"a","target":"version","op":"==","version":1}"#,
        r#"{"key":"a","target":"lease","op":"=","version":1}"#,
        r#"{"key":"a","target":"version","op":"=","version":-1}"#,
        r#"{"key":"a","target":"version","op":"=","version":"1"}"#,
        r#"{"key":"a","target":"value","op":"=","value":"*","encoding":"base64"}"#,
        r#"{"target":"version","op":"=","version":1}"#,
        r#"["a"]"#,
        "1",
    ];
    for compare in compares {
        let top = fault(&format!(r#"{{"compare":[{compare}]}}"#));
        assert!(top.in_compare && top.place.starts_with("compare[0]"), "{compare}: {top:?}");
        let inner = fault(&format!(r#"{{"failure":[{{"txn":{{"compare":[{compare}]}}}}]}}"#));
        let place = "failure[0].txn.compare[0]";
        assert!(inner.in_compare && inner.place.starts_with(place), "{compare}: {inner:?}");
    }
    assert!(fault(r#"{"compare":7}"#).in_compare);
    let elsewhere = fault(r#"{"success":[{"get":{"key":"a","compare":[1]}}]}"#);
    assert!(!elsewhere.in_compare, "{elsewhere:?}");
    assert!(!fault(r#"{"compare":[{"#).in_compare, "broken JSON is broken JSON");
}

#[test]
fn a_list_is_read_one_further_than_it_may_go() {
    let body = format!(r#"{{"success":[{}1]}}"#, r#"{"get":{"key":"a"}},"#.repeat(5000));
    assert_eq!(parse(body.as_bytes()).unwrap().then.len(), OPERATIONS_MAX + 1);
    let nested = format!("{}{}", r#"{"success":[{"txn":"#.repeat(1000), "}]}".repeat(1000));
    assert!(fault(&nested).reason.contains("recursion"), "a bounded depth");
}

#[test]
fn the_answers_read_as_documented() {
    let revision = Revision(18);
    let results = vec![
        OpResult::Put { version: 1, previous: None },
        OpResult::Delete { existed: false },
        OpResult::DeleteRange { deleted: 3 },
    ];
    let result = TxnResult { succeeded: true, revision, results };
    reads(&TxnAnswer::from(&result), include_str!("../../../tests/fixtures/txn_answer.json"));
    let pair = KeyValue {
        key: Bytes::from("a"),
        value: Bytes::from(".."),
        create_revision: Revision(3),
        mod_revision: Revision(17),
        version: 4,
    };
    let results = vec![
        OpResult::Get(Some(pair)),
        OpResult::Get(None),
        OpResult::Txn { succeeded: true, results: vec![] },
    ];
    let result = TxnResult { succeeded: false, revision: Revision(17), results };
    reads(&TxnAnswer::from(&result), include_str!("../../../tests/fixtures/txn_failure.json"));
}

proptest! {
    #[test]
    fn any_bytes_are_a_transaction_or_a_fault(body in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse(&body);
    }

    #[test]
    fn hostile_json_never_panics(
        body in r#"(\{"(compare|success|txn)":\[|\{"(put|get|delete_range)":\{|"key":"a"|[\]\}:,0-9]){0,20}"#
    ) {
        let _ = parse(body.as_bytes());
    }
}
