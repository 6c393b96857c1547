//! Free ports for a launcher and its nodes.

use super::Check;
use rand::RngExt;
use rand::rngs::StdRng;
use std::net::TcpListener;

/// Nodes whose ports are looked for: up to five, one that is added, and some to spare.
pub const NODES: u16 = 10;

/// The ports of a run.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// Of the launcher's control API.
    pub control: u16,
    /// Of the first node's API; its peers' is the next one, the next node's ten above.
    pub base: u16,
}

/// Finds a block of ports nobody listens on. They lie below the range from which the system takes
/// ports for outgoing connections, so that none of those can get in the way later.
pub fn find(rng: &mut StdRng) -> Check<Ports> {
    for _ in 0..200 {
        let control = rng.random_range(1_100..3_200) * 10;
        let base = control + 10;
        let Ok(claim) = claimed(control) else { continue };
        let wanted = (0..NODES).flat_map(|node| [base + 10 * node, base + 10 * node + 1]);
        if wanted.chain([control]).all(is_free) {
            // Until this process ends: its nodes come and go.
            std::mem::forget(claim);
            return Ok(Ports { control, base });
        }
    }
    Err("no block of free ports was found between 11000 and 32000".into())
}

/// Listens on ports in between that nobody wants, so that no other run takes a block that overlaps before
/// this one's nodes have theirs.
fn claimed(control: u16) -> std::io::Result<Vec<TcpListener>> {
    (0..=NODES).map(|ten| TcpListener::bind(("127.0.0.1", control + 10 * ten + 9))).collect()
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
