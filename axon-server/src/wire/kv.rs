//! Keys with their values and versions: what the doors under `/v1` answer.

use super::text::{Encoding, Text};
use axon_core::store::{Child, DeletedRange, KeyVersion, Written};
use axon_core::types::{KeyValue, Revision};
use serde::Serialize;
use utoipa::ToSchema;

/// How much of a value an envelope shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Values {
    /// All of it.
    #[default]
    Whole,
    /// At most so many bytes of it, and how many there are.
    Preview(usize),
    /// None of it.
    Left,
}

/// A key with its value: the envelope.
#[derive(Debug, Serialize, ToSchema)]
pub struct Envelope<'a> {
    /// The key.
    #[schema(value_type = String)]
    key: Text<'a>,
    /// How `key` is written, when it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_encoding: Option<Encoding>,
    /// The value, unless it was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    value: Option<Text<'a>>,
    /// How `value` is written, when it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    encoding: Option<Encoding>,
    /// Beside a preview: the bytes of the whole value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    value_bytes: Option<usize>,
    /// The revision that created the key.
    #[schema(value_type = u64)]
    create_revision: Revision,
    /// The revision of its last change.
    #[schema(value_type = u64)]
    mod_revision: Revision,
    /// How many changes the key has seen since it was created; 1: none.
    version: u64,
}

impl<'a> Envelope<'a> {
    /// Shows all of `pair`.
    #[must_use]
    pub fn new(pair: &'a KeyValue) -> Self {
        Self::with(pair, Values::Whole)
    }

    /// Shows `pair`, and so much of its value.
    #[must_use]
    pub fn with(pair: &'a KeyValue, values: Values) -> Self {
        let key = Text::new(&pair.key);
        let (value, value_bytes) = match values {
            Values::Whole => (Some(Text::new(&pair.value)), None),
            Values::Preview(bytes) => {
                (Some(Text::new(&pair.value).cut(bytes)), Some(pair.value.len()))
            }
            Values::Left => (None, None),
        };
        Self {
            key,
            key_encoding: key.encoding(),
            value,
            encoding: value.and_then(Text::encoding),
            value_bytes,
            create_revision: pair.create_revision,
            mod_revision: pair.mod_revision,
            version: pair.version,
        }
    }

    /// Appends it to `lines` as a line of NDJSON.
    pub fn append_line(&self, lines: &mut Vec<u8>) {
        serde_json::to_writer(&mut *lines, self).expect("a buffer takes every envelope");
        lines.push(b'\n');
    }
}

/// A key that is gone: what a history shows of its removal.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tombstone<'a> {
    /// The key.
    #[schema(value_type = String)]
    key: Text<'a>,
    /// How `key` is written, when it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_encoding: Option<Encoding>,
    /// The revision that removed it.
    #[schema(value_type = u64)]
    mod_revision: Revision,
    /// Always true.
    deleted: bool,
}

impl<'a> Tombstone<'a> {
    /// Shows that `revision` removed `key`.
    #[must_use]
    pub fn new(key: &'a [u8], revision: Revision) -> Self {
        let key = Text::new(key);
        Self { key, key_encoding: key.encoding(), mod_revision: revision, deleted: true }
    }
}

/// The answer to `PUT /v1/kv/{key}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Put {
    /// The revision that stored the value.
    #[schema(value_type = u64)]
    revision: Revision,
    /// The revision of the value before; null: the key is new.
    #[schema(value_type = Option<u64>, required = true)]
    previous_revision: Option<Revision>,
}

impl From<Written> for Put {
    fn from(written: Written) -> Self {
        Self { revision: written.revision, previous_revision: written.previous }
    }
}

/// The answer to `DELETE /v1/kv/{key}` and `DELETE /v1/kv`.
#[derive(Debug, Serialize, ToSchema)]
pub struct Delete {
    /// How many keys were removed.
    deleted: u64,
    /// The revision of the store after it.
    #[schema(value_type = u64)]
    revision: Revision,
}

impl From<axon_core::store::Deleted> for Delete {
    fn from(deleted: axon_core::store::Deleted) -> Self {
        Self { deleted: deleted.existed.into(), revision: deleted.revision }
    }
}

impl From<DeletedRange> for Delete {
    fn from(deleted: DeletedRange) -> Self {
        Self { deleted: deleted.deleted, revision: deleted.revision }
    }
}

/// The answer to `GET /v1/kv`: a page.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<'a> {
    /// The pairs, in the order asked for.
    pub items: Vec<Envelope<'a>>,
    /// With `delimiter`: the folders among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub prefixes: Option<Vec<Folder<'a>>>,
    /// The cursor of the next page; null: this was the last.
    #[schema(required = true)]
    pub next: Option<String>,
    /// The revision that all pages of this listing show.
    #[schema(value_type = u64)]
    pub revision: Revision,
    /// With `count_only`: how many keys there are.
    #[schema(required = true)]
    pub count: Option<u64>,
}

/// A folder of a listing: what all its keys begin with, and how many they are.
#[derive(Debug, Serialize, ToSchema)]
pub struct Folder<'a> {
    /// What all its keys begin with.
    #[schema(value_type = String)]
    prefix: Text<'a>,
    /// How `prefix` is written, when it is not text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key_encoding: Option<Encoding>,
    /// How many keys there are in it.
    count: u64,
    /// Counting ended here: there may be more.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    more: Option<bool>,
}

impl<'a> From<&'a Child> for Folder<'a> {
    fn from(child: &'a Child) -> Self {
        let prefix = Text::new(&child.prefix);
        Self {
            prefix,
            key_encoding: prefix.encoding(),
            count: child.count,
            more: (child.count >= Child::COUNT_MAX).then_some(true),
        }
    }
}

/// The answer to `GET /v1/history/{key}`.
#[derive(Debug, Serialize, ToSchema)]
pub struct History<'a> {
    /// The versions, newest first.
    pub versions: Vec<Version<'a>>,
    /// What `before` is for the next page; null: this was the last.
    #[schema(value_type = Option<u64>, required = true)]
    pub next: Option<Revision>,
}

/// A version in a history.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = KeyVersion)]
pub enum Version<'a> {
    /// The key had a value.
    Present(Envelope<'a>),
    /// The key was removed.
    Removed(Tombstone<'a>),
}

impl<'a> Version<'a> {
    /// Shows a version of `key`.
    #[must_use]
    pub fn new(key: &'a [u8], version: &'a KeyVersion) -> Self {
        match &version.pair {
            Some(pair) => Self::Present(Envelope::new(pair)),
            None => Self::Removed(Tombstone::new(key, version.revision)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::wire::tests::reads;
    use bytes::Bytes;

    fn pair(key: &'static [u8], value: &'static [u8]) -> KeyValue {
        KeyValue {
            key: Bytes::from_static(key),
            value: Bytes::from_static(value),
            create_revision: Revision(3),
            mod_revision: Revision(17),
            version: 4,
        }
    }

    #[test]
    fn the_envelope_reads_as_documented() {
        let fixture = include_str!("../../tests/fixtures/envelope.json");
        reads(&Envelope::new(&pair(b"a", b"..")), fixture);
        let fixture = include_str!("../../tests/fixtures/envelope_base64.json");
        reads(&Envelope::new(&pair(b"\xff/", b"\x00\xff")), fixture);
    }

    #[test]
    fn a_preview_tells_the_size_of_the_whole() {
        let long = pair(b"a", "h\u{e9}llo".as_bytes());
        let fixture = r#"{"key":"a","value":"h","value_bytes":6,"create_revision":3,"mod_revision":17,"version":4}"#;
        reads(&Envelope::with(&long, Values::Preview(2)), fixture);
        let binary = pair(b"a", b"\xff\xfe\xfd");
        let fixture = r#"{"key":"a","value":"//4=","encoding":"base64","value_bytes":3,"create_revision":3,"mod_revision":17,"version":4}"#;
        reads(&Envelope::with(&binary, Values::Preview(2)), fixture);
        let fixture = r#"{"key":"a","create_revision":3,"mod_revision":17,"version":4}"#;
        reads(&Envelope::with(&binary, Values::Left), fixture);
    }

    #[test]
    fn the_answers_to_writes_read_as_documented() {
        let written = Written { revision: Revision(18), previous: None };
        reads(&Put::from(written), r#"{"revision":18,"previous_revision":null}"#);
        let written = Written { revision: Revision(18), previous: Some(Revision(17)) };
        reads(&Put::from(written), r#"{"revision":18,"previous_revision":17}"#);
        let deleted = axon_core::store::Deleted { revision: Revision(19), existed: true };
        reads(&Delete::from(deleted), r#"{"deleted":1,"revision":19}"#);
        let deleted = DeletedRange { revision: Revision(20), deleted: 12 };
        reads(&Delete::from(deleted), r#"{"deleted":12,"revision":20}"#);
    }

    #[test]
    fn pages_read_as_documented() {
        let (a, revision) = (pair(b"a", b".."), Revision(40));
        let items = || vec![Envelope::new(&a)];
        let next = Some("c1.AbC".to_owned());
        let page = Page { items: items(), prefixes: None, next, revision, count: None };
        reads(&page, include_str!("../../tests/fixtures/page.json"));
        let children = [
            Child { prefix: Bytes::from("a/"), count: 2 },
            Child { prefix: Bytes::from(&b"\xff/"[..]), count: Child::COUNT_MAX },
        ];
        let prefixes = Some(children.iter().map(Folder::from).collect());
        let page = Page { items: items(), prefixes, next: None, revision, count: None };
        reads(&page, include_str!("../../tests/fixtures/listing.json"));
        let page = Page { items: vec![], prefixes: None, next: None, revision, count: Some(7) };
        reads(&page, r#"{"items":[],"next":null,"revision":40,"count":7}"#);
    }

    #[test]
    fn a_history_reads_as_documented() {
        let versions = [
            KeyVersion { revision: Revision(21), pair: None },
            KeyVersion { revision: Revision(17), pair: Some(pair(b"a", b"..")) },
        ];
        let versions = versions.iter().map(|version| Version::new(b"a", version));
        let history = History { versions: versions.collect(), next: Some(Revision(17)) };
        reads(&history, include_str!("../../tests/fixtures/history.json"));
    }
}
