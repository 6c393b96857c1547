//! etcd's v3 API over gRPC: the two calls that are compared, one connection a client.
//!
//! The messages are written out here, with the fields that are used, so that building needs no
//! protocol compiler; their numbers are those of etcd's `rpc.proto` and `kv.proto`. Fields that are
//! not listed are skipped when an answer is read.

use crate::Check;
use crate::door::Failure;
use crate::work::Request;
use bytes::Bytes;
use std::time::Duration;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

const PUT: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.KV/Put");
const RANGE: PathAndQuery = PathAndQuery::from_static("/etcdserverpb.KV/Range");

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    /// Answered from what the asked member has applied. Otherwise the read is linearizable.
    #[prost(bool, tag = "7")]
    serializable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
}

/// A client of one member.
pub struct Etcd {
    grpc: Grpc<Channel>,
    value_bytes: usize,
}

impl Etcd {
    /// A client over `channel`.
    pub fn new(channel: Channel, value_bytes: usize) -> Self {
        Self { grpc: Grpc::new(channel), value_bytes }
    }

    /// A connection to the member at `address` (`host:port`); it is made with the first request, and
    /// made again when it breaks.
    pub fn channel(address: &str, deadline: Duration) -> Check<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|error| format!("{address}: {error}"))?;
        Ok(endpoint.tcp_nodelay(true).connect_timeout(deadline).connect_lazy())
    }

    /// Makes one request.
    pub async fn ask(&mut self, request: Request) -> Result<(), Failure> {
        self.grpc.ready().await.map_err(|_| Failure::kind("no connection"))?;
        match request {
            Request::Put(key, value) => {
                let message = PutRequest { key: key.into(), value };
                let codec = ProstCodec::<PutRequest, PutResponse>::default();
                let answer = self.grpc.unary(tonic::Request::new(message), PUT, codec).await;
                answer.map(drop).map_err(|status| refused(&status))
            }
            Request::Get { key, local } => {
                let message = RangeRequest { key: key.into(), serializable: local };
                let codec = ProstCodec::<RangeRequest, RangeResponse>::default();
                let answer = self.grpc.unary(tonic::Request::new(message), RANGE, codec).await;
                let found = answer.map_err(|status| refused(&status))?.into_inner();
                match found.kvs.first() {
                    Some(pair) if pair.value.len() == self.value_bytes => Ok(()),
                    Some(_) => Err(Failure::OTHER_VALUE),
                    None => Err(Failure::ABSENT),
                }
            }
        }
    }
}

/// The kind of a refusal: gRPC's code, and the message, of which etcd has a few dozen.
fn refused(status: &tonic::Status) -> Failure {
    let message: String = status.message().chars().take(60).collect();
    Failure(format!("{:?} {message}", status.code()).into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use prost::Message;

    #[test]
    fn messages_are_encoded_as_etcds() {
        let put = PutRequest { key: "k".into(), value: "v".into() };
        assert_eq!(put.encode_to_vec(), [0x0a, 1, b'k', 0x12, 1, b'v']);
        let range = RangeRequest { key: "k".into(), serializable: true };
        assert_eq!(range.encode_to_vec(), [0x0a, 1, b'k', 0x38, 1]);
    }

    #[test]
    fn an_answer_is_read_past_fields_that_are_not_listed() {
        // header { revision: 9 }, kvs { key: "k", value: "v" }, count: 1
        let answer = [0x0a, 2, 0x18, 9, 0x12, 6, 0x0a, 1, b'k', 0x2a, 1, b'v', 0x20, 1];
        let answer = RangeResponse::decode(&answer[..]).unwrap();
        assert_eq!(answer.kvs, [KeyValue { value: "v".into() }]);
    }
}
