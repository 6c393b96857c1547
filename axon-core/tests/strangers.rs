//! Strangers at the peer port of real replicas: they learn nothing and change nothing. Alone in its
//! process: it looks at all its memory.
#![allow(clippy::unwrap_used, reason = "tests")]

use axon_core::command::{Command, Op};
use axon_core::config::{Config, Origin};
use axon_core::error::{Error, RefusalCode, TransportError};
use axon_core::secret::Secret;
use axon_core::transport::rpc::{self, Client, ClientOptions, Hello, PROTOCOL};
use axon_core::transport::tcp::TcpTransport;
use axon_core::transport::{FRAME_BYTES_MAX, GREETING_BYTES_MAX, Lane};
use axon_core::types::NodeId;
use axon_core::{Cluster, codec};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

const DEADLINE: Duration = Duration::from_secs(30);
/// What both ends say before the first frame.
const PREAMBLE: &[u8] = b"AXN\x01";
/// Connections of a flood: more than all that may wait at once, and than a laptop's descriptors
/// leave room for twice.
const FLOOD: usize = 400;
/// What a flood may cost, both ends of it being in this process.
const FLOOD_BYTES_MAX: usize = 64 << 20;

fn secret() -> Secret {
    Secret::new(*b"0123456789abcdef0123456789abcdef").unwrap()
}

async fn start(root: &Path, name: &str, origin: Origin, secret: Option<Secret>) -> Cluster {
    let config = Config {
        name: name.into(),
        data_dir: Some(root.join(name)),
        listen: Some("127.0.0.1:0".into()),
        origin,
        secret,
        ..Config::default()
    };
    Cluster::start(config).await.unwrap()
}

/// Two members that share a secret, and the peer address of the first.
async fn two(root: &Path) -> ([Cluster; 2], String) {
    let first = start(root, "very-secret-name", Origin::Init(None), Some(secret())).await;
    first.wait_ready(DEADLINE).await.unwrap();
    let address = first.members().unwrap()[0].member.peer_address.clone();
    let second = start(root, "second", Origin::Join(vec![address.clone()]), Some(secret())).await;
    second.wait_ready(DEADLINE).await.unwrap();
    until("both vote", || first.status().is_ok_and(|status| status.voters.len() == 2)).await;
    ([first, second], address)
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn framed(frame: &[u8]) -> Vec<u8> {
    [&(frame.len() as u32).to_le_bytes(), frame].concat()
}

fn opening() -> Vec<u8> {
    framed(&[&PROTOCOL.to_le_bytes()[..], &[7; 32]].concat())
}

/// A hello as a member of this very cluster would send it.
fn hello_of(cluster: &Cluster) -> Hello {
    let status = cluster.status().unwrap();
    Hello::new(Some(status.cluster_id), Some(NodeId(2)), "second", Lane::Control)
}

/// Sends `attack` and returns all that is answered until the replica closes the connection.
async fn attack(address: &str, attack: &[u8]) -> Vec<u8> {
    let mut raw = TcpStream::connect(address).await.unwrap();
    // It may be cut off in the middle.
    let _ = raw.write_all(attack).await;
    let mut heard = Vec::new();
    let _ = timeout(DEADLINE, raw.read_to_end(&mut heard)).await.expect("it is closed");
    heard
}

/// Splits off what any stranger is told: the preamble, a challenge, and that he is refused.
fn check_heard(heard: &[u8]) {
    let number = PROTOCOL.to_le_bytes();
    let rest = heard.strip_prefix(PREAMBLE).unwrap_or(heard);
    let rest = match rest.strip_prefix(&34_u32.to_le_bytes()) {
        // Random bytes behind the number.
        Some(challenge) => challenge.strip_prefix(&number).unwrap().get(32..).unwrap(),
        None => rest,
    };
    assert!(rest.is_empty() || rest == framed(&number), "a stranger was told {heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_learns_nothing_and_moves_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (cluster, address) = two(root.path()).await;
    cluster[0].store().put("k", "v").await.unwrap();
    let before = cluster[0].status().unwrap();

    let hello = codec::encode(&hello_of(&cluster[0]));
    let number = PROTOCOL.to_le_bytes();
    let attacks: [Vec<u8>; 8] = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        [PREAMBLE, &framed(&hello)].concat(),
        // As replicas once spoke, and as they may speak one day.
        [PREAMBLE, &framed(&[&[1, 0][..], &hello].concat())].concat(),
        [PREAMBLE, &framed(&[&[9, 0][..], &[7; 32]].concat())].concat(),
        [PREAMBLE, &opening(), &framed(&[&number[..], &[0; 32], &hello].concat())].concat(),
        [PREAMBLE, &opening(), &framed(&vec![0xff; GREETING_BYTES_MAX])].concat(),
        [PREAMBLE, &(FRAME_BYTES_MAX as u32).to_le_bytes(), &vec![0; 8 << 20]].concat(),
        [PREAMBLE, &opening(), &u32::MAX.to_le_bytes()].concat(),
    ];
    for bytes in &attacks {
        check_heard(&attack(&address, bytes).await);
    }
    // Nor does one that speaks well, and knows all but the secret.
    let transport = TcpTransport::bind("127.0.0.1:0").await.unwrap();
    for wrong in [Secret::none(), Secret::new([1; 32]).unwrap()] {
        let hello = hello_of(&cluster[0]);
        let refused = rpc::dial(&transport, &address, &hello, &wrong, None, DEADLINE).await;
        let expected = RefusalCode::SecretsDiffer;
        assert!(
            matches!(refused.err(), Some(TransportError::Refused { code, .. }) if code == expected)
        );
    }
    let after = cluster[0].status().unwrap();
    assert_eq!((after.term, after.leader), (before.term, before.leader));
    assert_eq!((after.voters, after.learners), (before.voters, before.learners));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_without_the_secret_is_told_and_knocks_in_vain() {
    let root = tempfile::tempdir().unwrap();
    let ([first, _second], address) = two(root.path()).await;
    let stranger = start(root.path(), "third", Origin::Join(vec![address]), None).await;
    until("it is told", || match stranger.readiness() {
        Err(Error::NotReady { reason }) => reason.contains("the secrets differ"),
        _ => false,
    })
    .await;
    assert_eq!(first.members().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_forwards_garbage_harms_nobody() {
    const FORWARD: u8 = 1;
    let root = tempfile::tempdir().unwrap();
    let (cluster, _) = two(root.path()).await;
    let leader = cluster.iter().find(|replica| {
        replica
            .status()
            .is_ok_and(|status| status.leader.is_some_and(|(id, _)| id == status.node_id))
    });
    let leader = leader.expect("one of the two leads").status().unwrap();
    let (_, member) = leader.leader.clone().unwrap();
    let hello = hello_of(&cluster[0]);
    let transport = Arc::new(TcpTransport::bind("127.0.0.1:0").await.unwrap());
    let client = Client::new(
        transport,
        member.peer_address,
        Arc::new(move || hello.clone()),
        secret(),
        ClientOptions::default(),
    );
    let put = |key: &'static str| {
        let op = Op::Put { key: key.into(), value: "forwarded".into() };
        codec::encode(&Command { request: None, op }).to_vec()
    };
    let (newer, cut) =
        ([&[codec::VERSION + 1][..], &put("k")[1..]].concat(), put("k")[..6].to_vec());
    let garbage = [vec![], vec![0xff; 40], b"garbage".to_vec(), put(""), newer, cut];
    for bad in garbage {
        // Between two that are in order: these are done.
        let batch = [framed(&put("before")), framed(&bad), framed(&put("after"))].concat();
        let answer = client.request([&[FORWARD][..], &batch].concat().into(), DEADLINE).await;
        assert!(answer.unwrap().len() > 1, "{bad:?}");
    }
    for replica in &cluster {
        let store = replica.store();
        store.put("k", "as ever").await.unwrap();
        for key in ["before", "after"] {
            assert_eq!(store.get(key).await.unwrap().unwrap().value, "forwarded");
        }
        let status = replica.status().unwrap();
        assert_eq!((status.halted, status.term), (None, leader.term));
    }
}

/// The most memory that this process has ever had.
fn most_resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_strangers_takes_little_memory_and_stops_nobody() {
    let root = tempfile::tempdir().unwrap();
    let (cluster, address) = two(root.path()).await;
    let before = (most_resident_bytes(), cluster[0].status().unwrap());
    // Half of them say nothing, half begin well and then send what they announced: megabytes.
    let mut flood = JoinSet::new();
    let (opening, megabytes) = (opening(), bytes::Bytes::from(vec![0; 1 << 20]));
    let announced = (FRAME_BYTES_MAX as u32).to_le_bytes();
    for number in 0..FLOOD {
        let mut raw = TcpStream::connect(&address).await.unwrap();
        let (opening, megabytes) = (opening.clone(), megabytes.clone());
        flood.spawn(async move {
            if number % 2 == 0 {
                let _ = raw.write_all(&[PREAMBLE, &opening, &announced].concat()).await;
                while raw.write_all(&megabytes).await.is_ok() {}
            }
            let mut heard = Vec::new();
            let _ = raw.read_to_end(&mut heard).await;
            heard
        });
    }
    drop(megabytes);
    cluster[1].store().put("k", "through the flood").await.unwrap();
    let ended = timeout(DEADLINE, flood.join_all()).await.expect("all of them are cut off");
    for heard in &ended {
        check_heard(heard);
    }
    let grown = most_resident_bytes().saturating_sub(before.0);
    assert!(grown <= FLOOD_BYTES_MAX, "{grown} bytes");
    let after = cluster[0].status().unwrap();
    assert_eq!((after.term, after.voters), (before.1.term, before.1.voters));
}
