//! The other half of point 13: wall clocks jump by an hour, to and fro, on the leader and on all nodes,
//! and nothing that is kept for an hour expires: not the history, not a session, not an idempotency
//! key.
//!
//! It needs libfaketime (`apt-get install faketime`), and is left out, with a word, where there is
//! none. That a clock has jumped is read from the `Date` of the node's answers; a server repeats the
//! last one until it is over, so that a clock set back is seen in those that started afterwards.

use crate::http::Call;
use crate::rig::{self, ALL, PATIENCE, Rig, Surroundings, until};
use crate::{Args, Check, clocks, ensure, v1};
use hyper::{Method, StatusCode};
use std::time::Duration;

/// Beyond the age of the history, and the idle time of a session.
const JUMP_SECONDS: i64 = 3_700;
/// A date has seconds, and the library looks for another offset once a second.
const TOLERANCE_SECONDS: i64 = 30;
/// How long a cluster is left with its new time: many times what it takes to look at its budget.
const DWELL: Duration = Duration::from_secs(5);

const KEY: &str = "jump/old";
const NAME: &str = "before-every-jump";

pub async fn run(args: &Args, seed: u64) -> Check<String> {
    let Some(library) = clocks::library() else {
        println!(
            "point 13: LEFT OUT: clock jumps; there is no libfaketime (apt-get install faketime)"
        );
        return Ok("clock jumps left out".into());
    };
    let environment = vec![("AXON_HISTORY_AGE", "60m".to_owned())];
    let surroundings = Surroundings { environment, clocks: Some(library), nodes: None };
    Rig::with(args, seed, surroundings, async |rig| {
        let ports = rig.api_ports().await?;
        let put = v1::put(KEY, "first").header("idempotency-key", NAME);
        let first = v1::revision(&rig.http.write(ports[0], &put).await?)?;
        rig.http.write(ports[1], &v1::put(KEY, "second")).await?;
        let mut kept = Kept { first, compacted: compacted(rig).await?, writes: 0 };
        kept.check(rig, "at first").await?;

        let leader = rig.leader().await?;
        jump(rig, &[&leader.id], JUMP_SECONDS)?;
        shown(rig, &[&leader.id], JUMP_SECONDS).await?;
        kept.check(rig, "with the leader's clock an hour ahead").await?;
        rig::kill(&leader)?;
        rig.wait_ready(&ALL).await?;
        kept.check(rig, "with another leader, in its own time").await?;
        jump(rig, &ALL, JUMP_SECONDS)?;
        shown(rig, &ALL, JUMP_SECONDS).await?;
        kept.check(rig, "with every clock an hour ahead").await?;
        jump(rig, &ALL, -JUMP_SECONDS)?;
        kept.check(rig, "with every clock two hours back").await?;
        let leader = rig.leader().await?;
        rig::kill(&leader)?;
        rig.wait_ready(&ALL).await?;
        shown(rig, &[&leader.id], -JUMP_SECONDS).await?;
        kept.check(rig, "with another leader, an hour behind").await?;
        let hashes = rig.settle().await?;
        Ok(format!(
            "wall clocks moved by {JUMP_SECONDS} s to and fro, leaders killed in between: history, \
             sessions and an idempotency key all kept; {hashes}"
        ))
    })
    .await
}

/// Sets wall clocks to so many seconds from the machine's; a second later they show it.
fn jump(rig: &Rig, ids: &[&str], seconds: i64) -> Check {
    ids.iter().try_for_each(|id| clocks::set(rig.root(), id, seconds))
}

/// Waits until nodes answer with that time.
async fn shown(rig: &mut Rig, ids: &[&str], seconds: i64) -> Check {
    until("the wall clocks have jumped", PATIENCE, async || {
        for id in ids {
            let node = rig.node(id).await?;
            let answer = rig.http.send(Call::new(Method::GET, node.port, "/livez")).await?;
            let date = answer.headers.get("date").and_then(|date| date.to_str().ok());
            let offset = clocks::offset(&node.id, date.unwrap_or_default())?;
            let off = (offset - seconds).abs();
            ensure!(off <= TOLERANCE_SECONDS, "{id} is {offset} s off, wanted were {seconds}");
        }
        Ok(Some(()))
    })
    .await
}

async fn compacted(rig: &mut Rig) -> Check<u64> {
    let port = rig.leader().await?.port;
    let status = rig.http.get_json(port, "/v1/status").await?;
    status["compacted_revision"].as_u64().ok_or_else(|| format!("a status without it: {status}"))
}

/// What must still be there.
struct Kept {
    /// The revision of the key's first version.
    first: u64,
    compacted: u64,
    writes: usize,
}

impl Kept {
    async fn check(&mut self, rig: &mut Rig, when: &str) -> Check {
        self.all_is_kept(rig).await.map_err(|what| format!("{when}: {what}"))
    }

    /// Writes for a while, then looks for everything, on every node.
    async fn all_is_kept(&mut self, rig: &mut Rig) -> Check {
        let ports = rig.api_ports().await?;
        let until = tokio::time::Instant::now() + DWELL;
        while tokio::time::Instant::now() < until {
            // Through the session of each node, which it has had from the beginning.
            for port in &ports {
                let put = v1::put("jump/new", self.writes.to_string());
                rig.http.write(*port, &put).await?;
                self.writes += 1;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let compacted = compacted(rig).await?;
        ensure!(compacted == self.compacted, "the history was compacted to {compacted}");
        for port in ports {
            let path = format!("{}?revision={}", v1::kv_path(KEY), self.first);
            let answer = rig.http.send(Call::new(Method::GET, port, path)).await?;
            let old = answer.status == StatusCode::OK && answer.body == "first";
            ensure!(old, "revision {} was answered {}", self.first, answer.brief());
            let again = v1::put(KEY, "first").header("idempotency-key", NAME);
            let revision = v1::revision(&rig.http.write(port, &again).await?)?;
            ensure!(revision == self.first, "the first put was done again, as {revision}");
        }
        Ok(())
    }
}
