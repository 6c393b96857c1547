//! The port where replicas talk to each other: strangers, and members gone mad.
//!
//! A stranger says anything. A member has introduced itself, with the cluster's secret, and says anything
//! from then on. An eavesdropper says again what a member said. Whoever it is, the connection ends in
//! bounded time, and the node neither falls nor changes its term.

use axon_benches::ensure;
use axon_benches::trial::Check;
use axon_core::secret::Secret;
use axon_core::transport::rpc::{self, Hello, PROTOCOL};
use axon_core::transport::tcp::TcpTransport;
use axon_core::transport::{FRAME_BYTES_MAX, GREETING_BYTES_MAX, Lane};
use axon_core::types::{ClusterId, NodeId};
use rand::rngs::StdRng;
use rand::{Rng, RngExt};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long a connection may stay open that says nothing that makes sense.
const PATIENCE: Duration = Duration::from_secs(15);
const PREAMBLE: &[u8] = b"AXN\x01";
/// More than newcomers there may be at a time.
const SILENT: usize = 300;

/// The port of a node, and what its members know.
pub struct Door {
    pub port: u16,
    pub secret: Secret,
    pub cluster: ClusterId,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    Stranger,
    Newcomer,
    Member(Lane),
}

struct Attack {
    name: String,
    who: Who,
    bytes: Vec<u8>,
    /// Between two halves of the bytes.
    pause: Duration,
}

impl Door {
    /// Attacks it with everything; returns how often, and what went wrong.
    pub async fn attack(&self, rng: &mut StdRng) -> Check<(usize, Vec<String>)> {
        let mut faults = Vec::new();
        let attacks = attacks(rng);
        let mut count = attacks.len();
        for attack in attacks {
            if let Err(what) = self.carry_out(&attack).await {
                faults.push(format!("peer port: {}: {what}", attack.name));
            }
        }
        for (name, bytes) in self.overheard().await? {
            count += 1;
            if let Err(what) = self.replay(&bytes).await {
                faults.push(format!("peer port: {name}: {what}"));
            }
        }
        count += SILENT;
        if let Err(what) = self.crowd().await {
            faults.push(format!("peer port: {SILENT} silent connections: {what}"));
        }
        Ok((count, faults))
    }

    async fn connect(&self) -> Check<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await;
        stream.map_err(|error| format!("no connection: {error}"))
    }

    async fn carry_out(&self, attack: &Attack) -> Check {
        let mut stream = match attack.who {
            Who::Stranger => self.connect().await?,
            Who::Newcomer => self.introduced(None, Lane::Control).await?.0,
            Who::Member(lane) => self.introduced(Some(NodeId(9)), lane).await?.0,
        };
        let (first, second) = attack.bytes.split_at(attack.bytes.len() / 2);
        let (mut reader, mut writer) = stream.split();
        let saying = async {
            // It may be cut off in the middle.
            let _ = writer.write_all(first).await;
            tokio::time::sleep(attack.pause).await;
            let _ = writer.write_all(second).await;
            let _ = writer.shutdown().await;
        };
        let mut heard = Vec::new();
        let hearing = reader.read_to_end(&mut heard);
        let ended = timeout(PATIENCE, async { tokio::join!(saying, hearing) }).await;
        ensure!(ended.is_ok(), "still open after {} s", PATIENCE.as_secs());
        let told = attack.who == Who::Stranger && self.tells(&heard);
        ensure!(!told, "a stranger hears of the cluster");
        Ok(())
    }

    /// Reports whether there is anything in `heard` that only members may know.
    fn tells(&self, heard: &[u8]) -> bool {
        let id = self.cluster.0.to_le_bytes();
        let name = b"node1";
        heard.windows(id.len()).any(|part| part == id)
            || heard.windows(name.len()).any(|part| part == name)
            || heard.windows(5).any(|part| part == b"alone")
    }

    /// A connection over which someone has introduced himself, with what was said on it.
    async fn introduced(&self, id: Option<NodeId>, lane: Lane) -> Check<(TcpStream, Vec<u8>)> {
        let told = |error: std::io::Error| format!("no introduction: {error}");
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(told)?;
        let between = listener.local_addr().map_err(told)?.to_string();
        let dialer = TcpTransport::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let hello = Hello::new(id.map(|_| self.cluster), id, "mad", lane);
        let mut outer = self.connect().await?;
        let mut said = Vec::new();
        let carrying = async {
            let (mut inner, _) = listener.accept().await?;
            let (mut up, mut down) = ([0; 4096], [0; 4096]);
            loop {
                tokio::select! {
                    read = inner.read(&mut up) => match read? {
                        0 => return Ok(()),
                        bytes => {
                            said.extend_from_slice(&up[..bytes]);
                            outer.write_all(&up[..bytes]).await?;
                        }
                    },
                    read = outer.read(&mut down) => match read? {
                        0 => return Ok(()),
                        bytes => inner.write_all(&down[..bytes]).await?,
                    },
                }
            }
        };
        tokio::select! {
            met = rpc::dial(&dialer, &between, &hello, &self.secret, None, PATIENCE) => {
                met.map_err(|error| format!("an introduction was refused: {error}"))?;
            }
            ended = carrying => {
                let ended: std::io::Result<()> = ended;
                return Err(format!("an introduction broke off: {ended:?}"));
            }
        }
        Ok((outer, said))
    }

    /// What members said to introduce themselves, to be said again: whole, twice, and crossed.
    async fn overheard(&self) -> Check<Vec<(String, Vec<u8>)>> {
        let mut said = Vec::new();
        for lane in [Lane::Control, Lane::Replication, Lane::Snapshot] {
            said.push(self.introduced(Some(NodeId(9)), lane).await?.1);
        }
        let mut replays = Vec::new();
        for (number, bytes) in said.iter().enumerate() {
            replays.push((format!("replay of greeting {number}"), bytes.clone()));
            replays.push((format!("greeting {number} twice"), bytes.repeat(2)));
        }
        let half = said[0].len() / 2;
        let crossed = [&said[0][..half], &said[1][half.min(said[1].len())..]].concat();
        replays.push(("two greetings crossed".into(), crossed));
        Ok(replays)
    }

    /// Says `bytes`, which were good once; whoever says them must not be let in.
    async fn replay(&self, bytes: &[u8]) -> Check {
        let mut stream = self.connect().await?;
        let _ = stream.write_all(bytes).await;
        let mut heard = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
        ensure!(ended.is_ok(), "still open after {} s: it was let in", PATIENCE.as_secs());
        ensure!(!self.tells(&heard), "it hears of the cluster");
        Ok(())
    }

    /// Many connections that say nothing: a member is let in all the same, and they are cut off.
    async fn crowd(&self) -> Check {
        let mut silent = Vec::new();
        for _ in 0..SILENT {
            silent.push(self.connect().await?);
        }
        self.introduced(Some(NodeId(9)), Lane::Control).await?;
        for stream in &mut silent {
            let mut heard = Vec::new();
            let ended = timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
            ensure!(ended.is_ok(), "still open after {} s", PATIENCE.as_secs());
        }
        Ok(())
    }
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

fn random(rng: &mut StdRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn attacks(rng: &mut StdRng) -> Vec<Attack> {
    let mut attacks = Vec::new();
    let mut add = |who, name: String, bytes: Vec<u8>| {
        attacks.push(Attack { name, who, bytes, pause: Duration::ZERO });
    };
    for (name, bytes) in strangers(rng) {
        add(Who::Stranger, format!("stranger: {name}"), bytes);
    }
    for (name, bytes) in frames(rng) {
        for who in [
            Who::Newcomer,
            Who::Member(Lane::Control),
            Who::Member(Lane::Replication),
            Who::Member(Lane::Snapshot),
        ] {
            add(who, format!("{who:?}: {name}"), bytes.clone());
        }
    }
    let opening = [PREAMBLE, &frame(&[&PROTOCOL.to_le_bytes()[..], &[7; 32]].concat())].concat();
    for (who, bytes) in [
        (Who::Stranger, PREAMBLE.to_vec()),
        (Who::Stranger, opening),
        (Who::Member(Lane::Control), frame(&random(rng, 100))),
        (Who::Member(Lane::Replication), frame(&random(rng, 100))),
    ] {
        let pause = Duration::from_secs(6);
        attacks.push(Attack { name: format!("{who:?}: slow"), who, bytes, pause });
    }
    attacks
}

/// What is said before any introduction.
fn strangers(rng: &mut StdRng) -> Vec<(String, Vec<u8>)> {
    let mut said: Vec<(String, Vec<u8>)> = [
        ("nothing", &b""[..]),
        ("a byte", b"A"),
        ("HTTP", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("SSH", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("zeros", &[0; 4096]),
        ("another framing", b"AXN\x02"),
        ("half a preamble", b"AX"),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
    .into();
    for number in 0..30 {
        let length = rng.random_range(1..3_000);
        said.push((format!("random bytes {number}"), random(rng, length)));
        said.push((
            format!("a preamble and random bytes {number}"),
            [PREAMBLE, &random(rng, length)].concat(),
        ));
    }
    for length in [
        0,
        1,
        2,
        33,
        35,
        GREETING_BYTES_MAX,
        GREETING_BYTES_MAX + 1,
        FRAME_BYTES_MAX,
        1 << 31,
        u32::MAX as usize,
    ] {
        let announced = (length as u32).to_le_bytes();
        said.push((format!("announces {length} bytes"), [PREAMBLE, &announced, &[2, 0]].concat()));
        let sent = vec![2; length.min(GREETING_BYTES_MAX + 1)];
        said.push((format!("a greeting of {length} bytes"), [PREAMBLE, &frame(&sent)].concat()));
    }
    for protocol in [0, 1, 2, 3, u16::MAX] {
        let opening = [&protocol.to_le_bytes()[..], &[7; 32]].concat();
        for second in [vec![], vec![2], vec![2, 0], vec![9; 66], random(rng, 500)] {
            let name = format!("protocol {protocol}, then {} bytes", second.len());
            said.push((name, [PREAMBLE, &frame(&opening), &frame(&second)].concat()));
        }
        said.push((
            format!("protocol {protocol} a hundred times"),
            [PREAMBLE, &frame(&opening).repeat(100)].concat(),
        ));
    }
    said
}

/// What is said after an introduction.
fn frames(rng: &mut StdRng) -> Vec<(String, Vec<u8>)> {
    let mut said = Vec::new();
    for length in 0..12 {
        said.push((format!("a frame of {length} bytes"), frame(&vec![1; length])));
    }
    for announced in [FRAME_BYTES_MAX, FRAME_BYTES_MAX + 1, 1 << 31, u32::MAX as usize] {
        let bytes = [&(announced as u32).to_le_bytes()[..], &[1; 64]].concat();
        said.push((format!("announces {announced} bytes"), bytes));
    }
    for number in 0..12 {
        let length = rng.random_range(8..2_000);
        said.push((format!("a random frame {number}"), frame(&random(rng, length))));
        said.push((format!("random bytes {number}"), random(rng, length)));
        let many: Vec<u8> = (0..50).flat_map(|_| frame(&random(rng, length % 60 + 8))).collect();
        said.push((format!("random frames {number}"), many));
    }
    // Each request of the control lane by its number, with nothing or nonsense behind it.
    for kind in 0..24_u8 {
        let tail = random(rng, 40);
        let empty = [&7_u64.to_le_bytes()[..], &[1, kind]].concat();
        let nonsense = [&empty[..], &tail].concat();
        said.push((format!("request {kind}"), [frame(&empty), frame(&nonsense)].concat()));
    }
    said.push(("a thousand frames of one number".into(), frame(&[5; 16]).repeat(1000)));
    said
}
