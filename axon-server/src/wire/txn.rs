//! Transactions: what `POST /v1/txn` takes and answers.
//!
//! A request is read strictly, into core's own vocabulary: a member that is not known, is missing or
//! has the wrong kind is an error that names its place, as in `success[1].put.key`. A list is read
//! only as far as a transaction may go, and one further, by which core sees that it is too long: a
//! body of brackets does not become a hundred times its size in memory.

use super::kv::Envelope;
use super::text::{Encoding, decode};
use crate::key;
use axon_core::store::{OpResult, TxnResult};
use axon_core::txn::{self, OPERATIONS_MAX, Relation, Target, Txn};
use axon_core::types::{KeyRange, Revision};
use bytes::Bytes;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_path_to_error::{Path, Segment};
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use utoipa::ToSchema;
use utoipa::openapi::Ref;
use utoipa::openapi::schema::Array;

/// What is wrong with a transaction as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where, as in `success[1].put`; `.` is the body itself.
    pub place: String,
    /// What.
    pub reason: String,
    /// Whether it lies in a compare.
    pub in_compare: bool,
}

/// Reads the body of `POST /v1/txn`.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn parse(body: &[u8]) -> Result<Txn, Fault> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed: Result<Strict<TxnRequest>, _> = serde_path_to_error::deserialize(&mut json);
    let txn = parsed.map_err(|error| Fault {
        place: error.path().to_string(),
        reason: error.inner().to_string(),
        in_compare: error.inner().is_data() && lies_in_compare(error.path()),
    })?;
    let outside = |error: serde_json::Error| Fault {
        place: ".".into(),
        reason: error.to_string(),
        in_compare: false,
    };
    json.end().map_err(outside)?;
    Ok(txn.0)
}

/// Reports whether `path` leads through the `compare` of a transaction, and not a member of an
/// operation that happens to be called so.
fn lies_in_compare(path: &Path) -> bool {
    let mut of_txn = true;
    path.iter().any(|segment| {
        let found = of_txn && matches!(segment, Segment::Map { key } if key == "compare");
        of_txn = matches!(segment, Segment::Enum { variant } if variant == "txn");
        found
    })
}

/// A JSON object that means a `T::Meaning`.
trait Shape {
    type Meaning;

    fn meaning(self) -> Result<Self::Meaning, String>;
}

/// The meaning of a `T` that was written as an object: serde alone takes an array for it as well.
struct Strict<T: Shape>(T::Meaning);

impl<'de, T: Shape + Deserialize<'de>> Deserialize<'de> for Strict<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);

        impl<'de, T: Shape + Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Strict<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Strict<T>, A::Error> {
                let shape = T::deserialize(MapAccessDeserializer::new(map))?;
                shape.meaning().map(Strict).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_map(Object(PhantomData))
    }
}

/// The beginning of a list: enough of it to see that it is too long.
struct List<T>(Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = List<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<List<T>, A::Error> {
                let mut items = Vec::new();
                while items.len() <= OPERATIONS_MAX {
                    let Some(item) = list.next_element()? else { return Ok(List(items)) };
                    items.push(item);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(List(items))
            }
        }

        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// The body of `POST /v1/txn`, and a transaction inside another one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TxnRequest {
    /// What must hold; all of it. Nothing: it holds.
    #[serde(default)]
    #[schema(value_type = Vec<CompareRequest>)]
    compare: List<Strict<CompareRequest>>,
    /// What is done then, in this order.
    #[serde(default)]
    #[schema(value_type = Vec<OpRequest>)]
    success: List<OpRequest>,
    /// What is done otherwise, in this order.
    #[serde(default)]
    #[schema(value_type = Vec<OpRequest>)]
    failure: List<OpRequest>,
}

impl Shape for TxnRequest {
    type Meaning = Txn;

    fn meaning(self) -> Result<Txn, String> {
        let ops = |list: List<OpRequest>| list.0.into_iter().map(txn::Op::from).collect();
        Ok(Txn {
            when: self.compare.0.into_iter().map(|compare| compare.0).collect(),
            then: ops(self.success),
            or_else: ops(self.failure),
        })
    }
}

/// A condition on one key. The member that is called like `target` holds what it is compared with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CompareRequest {
    /// The key.
    key: String,
    /// How `key` is written.
    key_encoding: Option<Encoding>,
    /// What of the key is compared.
    target: TargetRequest,
    /// How it must stand to what it is compared with.
    op: RelationRequest,
    /// The key's version; 0: absent.
    version: Option<u64>,
    /// The revision that created the key; 0: absent.
    #[schema(value_type = Option<u64>)]
    create_revision: Option<Revision>,
    /// The revision of the key's last change; 0: absent.
    #[schema(value_type = Option<u64>)]
    mod_revision: Option<Revision>,
    /// The key's value. A compare of an absent key's value never holds.
    value: Option<String>,
    /// How `value` is written.
    encoding: Option<Encoding>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum TargetRequest {
    Version,
    CreateRevision,
    ModRevision,
    Value,
}

#[derive(Deserialize, ToSchema)]
enum RelationRequest {
    #[serde(rename = "=")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
    #[serde(rename = "<")]
    Less,
    #[serde(rename = ">")]
    Greater,
}

impl Shape for CompareRequest {
    type Meaning = txn::Compare;

    fn meaning(self) -> Result<txn::Compare, String> {
        let given = [
            (TargetRequest::Version, "version", self.version.is_some()),
            (TargetRequest::CreateRevision, "create_revision", self.create_revision.is_some()),
            (TargetRequest::ModRevision, "mod_revision", self.mod_revision.is_some()),
            (TargetRequest::Value, "value", self.value.is_some()),
        ];
        for (target, name, is_given) in given {
            match (target == self.target, is_given) {
                (true, false) => return Err(format!("target `{name}` needs the member `{name}`")),
                (false, true) => return Err(format!("`{name}` is not what `target` says")),
                _ => {}
            }
        }
        if self.encoding.is_some() && self.value.is_none() {
            return Err("`encoding` is said of a `value`, and there is none".into());
        }
        let absent = || String::from("nothing to compare with");
        let target = match self.target {
            TargetRequest::Version => Target::Version(self.version.ok_or_else(absent)?),
            TargetRequest::CreateRevision => {
                Target::CreateRevision(self.create_revision.ok_or_else(absent)?)
            }
            TargetRequest::ModRevision => {
                Target::ModRevision(self.mod_revision.ok_or_else(absent)?)
            }
            TargetRequest::Value => {
                let value = self.value.ok_or_else(absent)?;
                Target::Value(decode("value", value.into(), self.encoding)?)
            }
        };
        let relation = match self.op {
            RelationRequest::Equal => Relation::Equal,
            RelationRequest::NotEqual => Relation::NotEqual,
            RelationRequest::Less => Relation::Less,
            RelationRequest::Greater => Relation::Greater,
        };
        let key = decode("key", self.key.into(), self.key_encoding)?;
        Ok(txn::Compare { key, target, relation })
    }
}

/// An operation: an object with one member, which says what to do.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OpRequest {
    #[schema(value_type = KeyRequest)]
    Get(Strict<KeyRequest>),
    #[schema(value_type = PairRequest)]
    Put(Strict<PairRequest>),
    #[schema(value_type = KeyRequest)]
    Delete(Strict<KeyRequest>),
    #[schema(value_type = RangeRequest)]
    DeleteRange(Strict<RangeRequest>),
    #[schema(value_type = TxnRequest, no_recursion)]
    Txn(Strict<TxnRequest>),
}

impl From<OpRequest> for txn::Op {
    fn from(request: OpRequest) -> Self {
        match request {
            OpRequest::Get(Strict(key)) => Self::get(key),
            OpRequest::Put(Strict((key, value))) => Self::put(key, value),
            OpRequest::Delete(Strict(key)) => Self::delete(key),
            OpRequest::DeleteRange(Strict(range)) => Self::delete_range(range),
            OpRequest::Txn(Strict(txn)) => Self::txn(txn),
        }
    }
}

/// A key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeyRequest {
    /// The key.
    key: String,
    /// How `key` is written.
    key_encoding: Option<Encoding>,
}

impl Shape for KeyRequest {
    type Meaning = Bytes;

    fn meaning(self) -> Result<Bytes, String> {
        decode("key", self.key.into(), self.key_encoding)
    }
}

/// A key and a value for it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PairRequest {
    /// The key.
    key: String,
    /// How `key` is written.
    key_encoding: Option<Encoding>,
    /// The value.
    value: String,
    /// How `value` is written.
    encoding: Option<Encoding>,
}

impl Shape for PairRequest {
    type Meaning = (Bytes, Bytes);

    fn meaning(self) -> Result<(Bytes, Bytes), String> {
        let key = decode("key", self.key.into(), self.key_encoding)?;
        Ok((key, decode("value", self.value.into(), self.encoding)?))
    }
}

/// The keys that begin with `prefix`, or those from `start` to before `end`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RangeRequest {
    /// What they begin with.
    prefix: Option<String>,
    /// The first of them.
    start: Option<String>,
    /// What they come before.
    end: Option<String>,
    /// How `prefix`, `start` and `end` are written.
    key_encoding: Option<Encoding>,
}

impl Shape for RangeRequest {
    type Meaning = KeyRange;

    fn meaning(self) -> Result<KeyRange, String> {
        let encoding = self.key_encoding;
        let decoded = |name, text: Option<String>| {
            text.map(|text| decode(name, Cow::Owned(text), encoding)).transpose()
        };
        let (prefix, start) = (decoded("prefix", self.prefix)?, decoded("start", self.start)?);
        let range = key::range(prefix, start, decoded("end", self.end)?);
        let range = range.map_err(|error| error.to_string())?;
        if range == KeyRange::all() {
            return Err("a transaction does not remove every key there is; \
                 DELETE /v1/kv?confirm=all does"
                .into());
        }
        Ok(range)
    }
}

/// The answer to `POST /v1/txn`.
#[derive(Debug, Serialize, ToSchema)]
pub struct TxnAnswer<'a> {
    /// Whether the compares held, so that `success` was done, and not `failure`.
    succeeded: bool,
    /// The revision of the store after it.
    #[schema(value_type = u64)]
    revision: Revision,
    /// One result an operation, in their order.
    results: Vec<OpAnswer<'a>>,
}

/// What one operation did: an object with one member, which is called like the operation.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OpAnswer<'a> {
    Get {
        #[schema(required = true)]
        kv: Option<Envelope<'a>>,
    },
    Put {
        #[schema(value_type = u64)]
        mod_revision: Revision,
        version: u64,
    },
    Delete {
        deleted: u64,
    },
    DeleteRange {
        deleted: u64,
    },
    Txn {
        succeeded: bool,
        #[schema(schema_with = inner_results)]
        results: Vec<OpAnswer<'a>>,
    },
}

/// A description that contains itself is only referred to.
fn inner_results() -> Array {
    Array::new(Ref::from_schema_name(OpAnswer::name()))
}

impl<'a> From<&'a TxnResult> for TxnAnswer<'a> {
    fn from(result: &'a TxnResult) -> Self {
        let TxnResult { succeeded, revision, results } = result;
        let (succeeded, revision) = (*succeeded, *revision);
        Self { succeeded, revision, results: answers(results, revision) }
    }
}

fn answers(results: &[OpResult], mod_revision: Revision) -> Vec<OpAnswer<'_>> {
    results.iter().map(|result| answer(result, mod_revision)).collect()
}

fn answer(result: &OpResult, mod_revision: Revision) -> OpAnswer<'_> {
    match *result {
        OpResult::Get(ref found) => OpAnswer::Get { kv: found.as_ref().map(Envelope::new) },
        OpResult::Put { version, .. } => OpAnswer::Put { mod_revision, version },
        OpResult::Delete { existed } => OpAnswer::Delete { deleted: existed.into() },
        OpResult::DeleteRange { deleted } => OpAnswer::DeleteRange { deleted },
        OpResult::Txn { succeeded, ref results } => {
            OpAnswer::Txn { succeeded, results: answers(results, mod_revision) }
        }
    }
}

#[cfg(test)]
mod tests;
