//! `restore` and `recover`: what they print. What they do is core's.

use crate::args::{Recover, Restore};
use axon_core::Error;
use axon_core::backup;
use axon_core::error::StorageError;
use axon_core::recovery::{self, Recovered, Replica, Survey};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufReader, Write};

/// Makes a new cluster of a backup, and prints what it is.
///
/// # Errors
/// As [`backup::restore`].
pub fn restore(restore: &Restore) -> Result<(), Error> {
    let Restore { options, from } = restore;
    let restored = match from {
        Some(path) => {
            let file =
                File::open(path).map_err(|error| StorageError::io("cannot open", path, &error))?;
            backup::restore(BufReader::new(file), options)?
        }
        None => backup::restore(io::stdin().lock(), options)?,
    };
    let backup::Restored { cluster_id, node_id, revision, keys } = restored;
    let (name, path) = (&options.name, options.data_dir.display());
    say(&format!(
        "cluster_id: {cluster_id}\nnode_id: {node_id}\nrevision: {revision}\nkeys: {keys}\n\
         Start it with: axon-server run --name {name} --data-dir {path}\n"
    ))
}

/// Shows what is left of a cluster and, with consent, makes a new one of it.
///
/// # Errors
/// As [`recovery::survey`] and [`Survey::recover`].
pub async fn recover(asked: &Recover) -> Result<(), Error> {
    let survey = recovery::survey(&asked.data_dirs)?;
    let (mut document, shown) = (document(&survey), text(&survey, asked));
    if !asked.json {
        say(&shown)?;
    }
    let recovered = match asked.yes {
        Some(consent) => Some(survey.recover(consent, asked.force).await?),
        None => None,
    };
    if asked.json {
        document["recovered"] = recovered.as_ref().map_or(Value::Null, made);
        return say(&format!("{document}\n"));
    }
    let Some(Recovered { data_dir, kept, cluster_id, node_id, name, revision, keys }) = recovered
    else {
        return Ok(());
    };
    say(&format!(
        "\nDone: {name} is the only member of the new cluster {cluster_id}, under the id {node_id}, at \
         revision {revision} with {keys} keys.\nIts old files are in {}.\nStart it with the command \
         line that it had: axon-server run --name {name} --data-dir {} ...\nThen start the others \
         with empty directories, to join it. Never start a replica of the lost cluster again.\n",
        kept.display(),
        data_dir.display()
    ))
}

fn say(text: &str) -> Result<(), Error> {
    let said = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
    Ok(said.map_err(|error| StorageError::io("cannot write to", "the standard output", &error))?)
}

fn document(survey: &Survey) -> Value {
    let missing = survey
        .missing()
        .map(|(id, member, votes)| json!({ "id": id.0, "name": member.name, "votes": votes }));
    json!({
        "cluster_id": survey.cluster_id().to_string(),
        "majority": survey.has_majority(),
        "best": survey.best().map(|best| &best.data_dir),
        "unfinished": survey.replicas().iter().any(|replica| replica.unfinished),
        "replicas": survey.replicas().iter().map(replica).collect::<Vec<_>>(),
        "missing": missing.collect::<Vec<_>>(),
    })
}

fn replica(replica: &Replica) -> Value {
    let identity = replica.identity.as_ref().ok();
    let standing = replica.standing.as_ref().ok();
    json!({
        "data_dir": replica.data_dir,
        "id": identity.map(|(_, id, _)| id.0),
        "name": identity.map(|(.., name)| name),
        "term": standing.map(|standing| standing.term),
        "last_index": standing.map(|standing| standing.last_index.0),
        "committed_index": standing.map(|standing| standing.committed_index.0),
        "checkpoint_index": standing.map(|standing| standing.checkpoint_index.0),
        "revision": standing.map(|standing| standing.revision.0),
        "unfinished": replica.unfinished,
        "damage": damage(replica),
    })
}

fn made(recovered: &Recovered) -> Value {
    json!({
        "data_dir": recovered.data_dir,
        "kept": recovered.kept,
        "cluster_id": recovered.cluster_id.to_string(),
        "id": recovered.node_id.0,
        "name": recovered.name,
        "revision": recovered.revision.0,
        "keys": recovered.keys,
    })
}

fn damage(replica: &Replica) -> Option<String> {
    let error = replica.identity.as_ref().err().or(replica.standing.as_ref().err())?;
    (!replica.unfinished).then(|| error.to_string())
}

/// What is left, in words; and what to do about it.
fn text(survey: &Survey, asked: &Recover) -> String {
    let mut out = format!("What is left of cluster {}:\n\n", survey.cluster_id());
    table(survey, &mut out);
    let consent = || {
        let mut line = String::from("  axon-server recover");
        for path in &asked.data_dirs {
            let _ = write!(line, " --data-dir {}", path.display());
        }
        let force = if survey.has_majority() { " --force" } else { "" };
        format!("{line}{force} --yes {}\n", survey.cluster_id())
    };
    let Some(best) = survey.best() else {
        out.push_str("\nNone of them can be used. Restore a backup, if there is one.\n");
        return out;
    };
    let name = best.identity.as_ref().map_or("it", |(.., name)| name.as_str());
    if best.unfinished {
        let _ = writeln!(out, "\nA recovery was interrupted in {}.", best.data_dir.display());
    } else {
        outlook(survey, name, &mut out);
    }
    if asked.yes.is_none() {
        let what = if best.unfinished { "finish it" } else { "make a new cluster of it" };
        let _ = write!(out, "\nNothing was changed. To {what}:\n\n{}", consent());
    }
    out
}

fn table(survey: &Survey, out: &mut String) {
    let best = survey.best().map(|best| &best.data_dir);
    for replica in survey.replicas() {
        let path = replica.data_dir.display();
        let who = replica
            .identity
            .as_ref()
            .map_or_else(|_| "unknown".to_owned(), |(_, id, name)| format!("{name} (id {id})"));
        let mark = if best == Some(&replica.data_dir) { "*" } else { " " };
        let _ = writeln!(out, "{mark} {who}  {path}");
        match (&replica.standing, damage(replica)) {
            (Ok(standing), None) => {
                let _ = writeln!(
                    out,
                    "    last entry {} of term {}, known committed {}, checkpoint {} at revision {}",
                    standing.last_index,
                    standing.term,
                    standing.committed_index,
                    standing.checkpoint_index,
                    standing.revision
                );
            }
            (_, Some(damage)) => {
                let _ = writeln!(out, "    cannot be used: {damage}");
            }
            (_, None) => out.push_str("    a recovery was interrupted here\n"),
        }
    }
}

/// What is best, who is missing, and what that means.
fn outlook(survey: &Survey, name: &str, out: &mut String) {
    let _ = writeln!(out, "\nThe best survivor is {name} (*): no other has a later last entry.");
    let listed = survey.members().iter().map(|(id, member, votes)| {
        let votes = if *votes { "" } else { ", no vote" };
        format!("{} (id {id}{votes})", member.name)
    });
    let _ =
        writeln!(out, "The members, as it knows them: {}.", listed.collect::<Vec<_>>().join(", "));
    let missing = survey.missing().map(|(id, member, _)| format!("{} (id {id})", member.name));
    let missing = missing.collect::<Vec<_>>();
    if !missing.is_empty() {
        let _ = writeln!(out, "Missing, or of no use: {}.", missing.join(", "));
    }
    if survey.has_majority() {
        out.push_str(
            "A majority of the members is here. Recovery is not needed: start these replicas, and \
             nothing is lost.\n",
        );
        return;
    }
    let _ = writeln!(
        out,
        "What may be lost: writes that only the missing members had. Acknowledged ones are among them \
         if {name} was behind when the others were lost.\nWhat may appear: writes that {name} had in \
         its log and that were never acknowledged."
    );
}
