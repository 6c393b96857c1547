//! Messages made by hand, in the layout of chitchat: what is let through to it, and what is not.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use bytes::Bytes;
use proptest::prelude::*;

const HEADER: [u8; 3] = [0x53, 0xb0, 0];

fn put_digest(ids: impl IntoIterator<Item = ChitchatId>, out: &mut Vec<u8>) {
    let ids: Vec<ChitchatId> = ids.into_iter().collect();
    (ids.len() as u16).serialize(out);
    for id in ids {
        id.serialize(out);
        for number in [5_u64, 0, 0] {
            number.serialize(out);
        }
    }
}

/// What a replica begins with that knows of `ids`.
pub(crate) fn syn(cluster_id: &str, ids: impl IntoIterator<Item = ChitchatId>) -> Bytes {
    let mut out = HEADER.to_vec();
    out.push(0);
    put_digest(ids, &mut out);
    cluster_id.serialize(&mut out);
    out.into()
}

/// What a replica answers that knows `facts` of `id`.
pub(crate) fn syn_ack(id: &ChitchatId, facts: impl IntoIterator<Item = (String, String)>) -> Bytes {
    let mut block = vec![0];
    id.serialize(&mut block);
    for number in [0_u64, 0] {
        number.serialize(&mut block);
    }
    for ((key, fact), version) in facts.into_iter().zip(1_u64..) {
        block.push(1);
        key.serialize(&mut block);
        fact.serialize(&mut block);
        version.serialize(&mut block);
        block.push(0);
    }
    let mut out = HEADER.to_vec();
    out.push(1);
    put_digest([id.clone()], &mut out);
    out.push(2);
    (block.len() as u16).serialize(&mut out);
    out.extend(block);
    out.push(0);
    out.into()
}

fn admitted(book: &mut Book, message: Bytes) -> anyhow::Result<ChitchatMessage> {
    book.admit(&Gossip { from: "peer".into(), message })
}

#[test]
fn a_node_is_found_again_by_what_it_is_called() {
    for address in ["10.0.0.7:9001", "host.example:9001", "one", "[::1]:9001"] {
        let id = chitchat_id(NodeId(7), 5, address);
        assert_eq!(who(&id), Some((NodeId(7), address)));
        assert_eq!(id.gossip_advertise_addr, stand_in(address));
        assert!(stand_in(address).to_string().starts_with("[fd"), "{}", stand_in(address));
    }
}

#[test]
fn what_no_replica_is_called_is_refused() {
    let named = |name: &str, address: &str| ChitchatId::new(name, 5, stand_in(address));
    for id in [
        named("7", "one"),
        named("x@one", "one"),
        named("7@one", "two"),
        chitchat_id(NodeId(7), GENERATION_MAX, "one"),
        chitchat_id(NodeId(7), 5, &"x".repeat(ADDRESS_BYTES_MAX + 1)),
    ] {
        assert_eq!(who(&id), None, "{id:?}");
        let mut book = Book::default();
        assert!(admitted(&mut book, syn("c", [id])).is_err());
        assert!(book.nodes.is_empty());
    }
}

#[test]
fn a_message_is_taken_in_as_long_as_there_is_room() {
    let mut book = Book::default();
    let nodes = |from: u64| (from..from + 150).map(|id| chitchat_id(NodeId(id), 1, "a:1"));
    for from in [0, 100, 200, 250] {
        admitted(&mut book, syn("c", nodes(from))).unwrap();
    }
    assert_eq!(book.nodes.len(), NODES_MAX);
    assert!(admitted(&mut book, syn("c", nodes(260))).is_err(), "ten too many");
    assert_eq!(book.nodes.len(), NODES_MAX);
    admitted(&mut book, syn("c", nodes(1))).unwrap();

    let mut book = Book::default();
    let long = |id| chitchat_id(NodeId(id), 1, &"x".repeat(ADDRESS_BYTES_MAX - 10));
    assert!(admitted(&mut book, syn("c", (0..150).map(long))).is_err(), "too long together");
    let message = syn("c", (0..50).map(long));
    let times = INTAKE_BYTES_MAX / message.len();
    for _ in 0..times - 3 {
        admitted(&mut book, message.clone()).unwrap();
    }
    while admitted(&mut book, message.clone()).is_ok() {}
    assert!(book.intake <= INTAKE_BYTES_MAX + message.len());

    let bomb = [&HEADER[..], &[2], &[2, 1, 0, 0].repeat(BLOCKS_MAX + 1), &[0]].concat();
    let refused = admitted(&mut Book::default(), bomb.into()).unwrap_err();
    assert_eq!(refused.to_string(), "it has too many blocks");
}

#[test]
fn facts_of_a_node_are_taken_apart() {
    let id = chitchat_id(NodeId(7), 5, "one");
    let message = syn_ack(&id, [("name".to_owned(), "node7".to_owned())]);
    assert_eq!(mentioned(&message).unwrap(), BTreeSet::from([id]));
    let decoded = admitted(&mut Book::default(), message).unwrap();
    assert!(format!("{decoded:?}").contains("node7"), "{decoded:?}");
}

proptest! {
    #[test]
    fn any_message_is_taken_apart_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = admitted(&mut Book::default(), bytes.clone().into());
        let framed = [&HEADER[..], &bytes].concat();
        let _ = admitted(&mut Book::default(), framed.into());
    }

    #[test]
    fn a_message_with_a_flaw_is_taken_apart_or_refused(
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let id = chitchat_id(NodeId(7), 5, "one");
        let whole = syn_ack(&id, (0..4).map(|at| (format!("key {at}"), "fact".to_owned())));
        let mut flawed = whole.to_vec();
        let at = at.index(flawed.len());
        flawed[at] = value;
        let _ = admitted(&mut Book::default(), flawed.into());
        let _ = admitted(&mut Book::default(), whole.slice(..cut.index(whole.len())));
    }
}
