//! What the clients ask for: the same keys and values of every store.
//!
//! Keys are 16 bytes and need no escaping in a path. Values are bytes that do not compress, cut from
//! one pool at different places, so that making one costs neither an allocation nor a copy.

use bytes::Bytes;
use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// How long a key is.
pub const KEY_BYTES: usize = 16;

/// Values begin anywhere in so many bytes of the pool.
const POOL_BYTES: usize = 1 << 16;

/// What a run measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Op {
    /// Writes of existing and new keys.
    Put,
    /// Linearizable reads.
    Get,
    /// Reads of what the asked node has applied (etcd calls them serializable).
    LocalGet,
    /// Writes among linearizable reads: `--put-percent` of them.
    Mixed,
}

impl Op {
    /// Its name on the command line and in the output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::LocalGet => "local-get",
            Self::Mixed => "mixed",
        }
    }

    /// Reports whether the keys must be there before it begins.
    pub fn reads(self) -> bool {
        self != Self::Put
    }
}

/// One request.
#[derive(Debug, Clone)]
pub enum Request {
    /// Store the value under the key.
    Put(String, Bytes),
    /// Read the key; `local` says that the asked node need not ask the others.
    Get { key: String, local: bool },
}

/// Settings of the work.
#[derive(Debug, Clone)]
pub struct Work {
    /// How many different keys there are.
    pub keys: u64,
    /// How long each value is.
    pub value_bytes: usize,
    /// Of a hundred requests of [`Op::Mixed`], how many are puts.
    pub put_percent: u32,
    /// What all randomness comes from.
    pub seed: u64,
    pool: Bytes,
}

impl Work {
    pub fn new(keys: u64, value_bytes: usize, put_percent: u32, seed: u64) -> Self {
        let mut pool = vec![0; POOL_BYTES + value_bytes];
        StdRng::seed_from_u64(seed).fill_bytes(&mut pool);
        Self { keys, value_bytes, put_percent, seed, pool: Bytes::from(pool) }
    }

    /// The key of a number.
    pub fn key(number: u64) -> String {
        format!("key-{number:012}")
    }

    /// A put of the key of `number`, for those who fill the store.
    pub fn filling(&self, number: u64) -> Request {
        let at = usize::try_from(number).unwrap_or_default() % POOL_BYTES;
        Request::Put(Self::key(number), self.value(at))
    }

    /// The requests of one client in one run; the same for the same seed, client and run.
    pub fn requests(&self, op: Op, client: usize, run: u64) -> Requests {
        let own = (run << 32) ^ client as u64 ^ 1;
        let rng = StdRng::seed_from_u64(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ own);
        Requests { work: self.clone(), op, rng }
    }

    fn value(&self, at: usize) -> Bytes {
        self.pool.slice(at..at + self.value_bytes)
    }
}

/// An endless sequence of requests.
pub struct Requests {
    work: Work,
    op: Op,
    rng: StdRng,
}

impl Requests {
    pub fn next(&mut self) -> Request {
        let key = Work::key(self.rng.random_range(0..self.work.keys));
        let put = match self.op {
            Op::Put => true,
            Op::Get | Op::LocalGet => false,
            Op::Mixed => self.rng.random_range(0..100) < self.work.put_percent,
        };
        if put {
            let at = self.rng.random_range(0..POOL_BYTES);
            return Request::Put(key, self.work.value(at));
        }
        Request::Get { key, local: self.op == Op::LocalGet }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_have_their_lengths() {
        let work = Work::new(10, 256, 50, 7);
        let mut requests = work.requests(Op::Mixed, 0, 0);
        let (mut puts, mut gets) = (0, 0);
        for _ in 0..1000 {
            match requests.next() {
                Request::Put(key, value) => {
                    assert_eq!((key.len(), value.len()), (KEY_BYTES, 256));
                    puts += 1;
                }
                Request::Get { key, local } => {
                    assert_eq!((key.len(), local), (KEY_BYTES, false));
                    gets += 1;
                }
            }
        }
        assert!(puts > 400 && gets > 400, "{puts} puts, {gets} gets");
    }

    #[test]
    fn the_same_seed_asks_the_same_and_clients_differ() {
        let keys = |client, run| {
            let mut requests = Work::new(1 << 40, 1, 0, 7).requests(Op::Get, client, run);
            (0..3).map(|_| format!("{:?}", requests.next())).collect::<Vec<_>>()
        };
        assert_eq!(keys(1, 2), keys(1, 2));
        assert_ne!(keys(1, 2), keys(2, 2));
        assert_ne!(keys(1, 2), keys(1, 3));
    }
}
