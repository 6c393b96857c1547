//! Point 5: with two of three nodes stopped nothing is decided, and the node that is left says so
//! quickly and clearly; with one of them back, work goes on by itself.

use crate::http::Answer;
use crate::rig::{ALL, Rig, until};
use crate::{Check, ensure};
use hyper::StatusCode;
use std::time::{Duration, Instant};

/// How long a node may take to say that there is no quorum.
const REFUSAL_MAX: Duration = Duration::from_secs(2);

/// How long writes may take to work again once a majority runs.
const RECOVERY_MAX: Duration = Duration::from_secs(15);

pub async fn run(rig: &mut Rig) -> Check<String> {
    rig.wait_ready(&ALL).await?;
    let leader = rig.leader().await?.id;
    // The leader leaves first: the one that stays has to notice by itself.
    let others: Vec<_> = ALL.into_iter().filter(|id| *id != leader).collect();
    let (left, also_stopped) = (others[0], others[1]);
    rig.control("stop", &leader).await?;
    rig.control("stop", also_stopped).await?;
    let stopped = Instant::now();
    rig.control("stop", also_stopped).await.map_err(|what| format!("again: {what}"))?;
    let port = rig.node(left).await?.port;

    let put = refused(stopped, async || Ok(rig.http.put(port, "quorum/lost", "x").await?)).await?;
    rig.ledger.suspect("quorum/lost".into(), "x".into());
    let key = rig.ledger.acknowledged().keys().next().cloned().unwrap_or("any".into());
    let get = refused(stopped, async || Ok(rig.http.get(port, &key).await?)).await?;
    let dump = rig.http.dump(port).await?;
    rig.ledger.check_genuine(&dump).map_err(|what| format!("without quorum, {left} {what}"))?;

    rig.control("start", also_stopped).await?;
    let started = Instant::now();
    let written = until("a put works with two of three", RECOVERY_MAX, async || {
        rig.http.must_put(port, "quorum/back", "y").await.map(Some)
    });
    written.await?;
    let recovery = started.elapsed().as_secs_f64();
    rig.ledger.acknowledge("quorum/back".into(), "y".into());
    let found = rig.http.must_get(port, "quorum/back").await?;
    ensure!(found.as_deref() == Some("y"), "what was put with two of three is read as {found:?}");
    rig.control("start", &leader).await?;
    rig.wait_ready(&ALL).await?;
    let pairs = rig.verify().await?;
    Ok(format!(
        "no_quorum known {put:.2} s (put) and {get:.2} s (get) after the stop, {} pairs still read \
         locally; writing {recovery:.2} s after one came back; {pairs} pairs on each node",
        dump.len()
    ))
}

/// Calls until the answer is 503 `no_quorum`; returns the seconds since `stopped`. Until then, and
/// for no longer than the limit, 503 `no_leader` will do. Every call is refused within the limit,
/// and so is one made afterwards, when nothing is new any more.
async fn refused(stopped: Instant, call: impl AsyncFn() -> Check<Answer>) -> Check<f64> {
    let limit = REFUSAL_MAX.as_secs_f64();
    let noticed = loop {
        let begun = Instant::now();
        let answer = call().await?;
        ensure!(
            answer.status == StatusCode::SERVICE_UNAVAILABLE,
            "without quorum a call was answered {}",
            answer.brief()
        );
        ensure!(
            begun.elapsed() <= REFUSAL_MAX,
            "without quorum a call was refused after {:.2} s, the limit is {limit} s",
            begun.elapsed().as_secs_f64()
        );
        match answer.code().as_str() {
            "no_quorum" => break stopped.elapsed(),
            "no_leader" if stopped.elapsed() <= REFUSAL_MAX => {}
            _ => return Err(format!("{limit} s without quorum, answered {}", answer.brief())),
        }
    };
    let begun = Instant::now();
    let answer = call().await?;
    let again = answer.status == StatusCode::SERVICE_UNAVAILABLE && answer.code() == "no_quorum";
    ensure!(again, "no_quorum was known, then the answer was {}", answer.brief());
    ensure!(begun.elapsed() <= REFUSAL_MAX, "no_quorum was known, then took over {limit} s again");
    Ok(noticed.as_secs_f64())
}
