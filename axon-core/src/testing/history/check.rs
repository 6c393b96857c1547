//! The whole check: an order by revisions, then one that trusts none, then the watches.

use super::compile::{Compiled, Op, compile};
use super::evidence::Evidence;
use super::explain::Case;
use super::general::{self, Values};
use super::record::History;
use super::search::{Ending, Placed, Search};
use super::verdict::{Finding, Kind, Stats, Verdict};
use super::{log::Log, watches};

/// States that are looked at when nothing is said.
pub const BUDGET_DEFAULT: usize = 1_000_000;

/// States that are looked at by revisions where none was told, but some were compared.
const UNTOLD_BUDGET: usize = 20_000;

/// Checks histories.
#[derive(Debug, Clone, Copy)]
pub struct Checker {
    budget: usize,
}

impl Default for Checker {
    fn default() -> Self {
        Self { budget: BUDGET_DEFAULT }
    }
}

impl Checker {
    /// Makes a checker that looks at no more than [`BUDGET_DEFAULT`] states in each of its searches.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at no more than `states` states in each search, and says [`Verdict::Undecided`] when
    /// they are not enough.
    pub fn budget(mut self, states: usize) -> Self {
        self.budget = states;
        self
    }

    /// Checks `history`: that an order of its operations explains every answer, that what was sent
    /// several times under one id happened once, and that its watches told what they promise.
    ///
    /// The history has to have all writes of the store, except for those before it
    /// ([`History::initial`]).
    #[must_use]
    pub fn check(&self, history: &History) -> Verdict {
        match self.judge(history) {
            Ok(verdict) => verdict,
            Err(violation) => Verdict::Violation(Box::new(violation.explained(history))),
        }
    }

    fn judge(self, history: &History) -> Result<Verdict, Finding> {
        let compiled = compile(history)?;
        let mut stats = Stats {
            operations: history.operations.len(),
            unknown: compiled.ops.iter().filter(|op| !op.must()).count(),
            events: history.watches.iter().map(|watch| watch.told.len()).sum(),
            ..Stats::default()
        };
        let evidence = Evidence::gather(&compiled);
        let told = compiled.ops.iter().any(Op::tells_revisions);
        let compared = compiled.ops.iter().any(Op::compares_revisions);
        if !told && !compared {
            return self.by_values(history, compiled, &evidence, stats);
        }
        if evidence.twice.is_some() {
            return Err(explain(history, compiled, &evidence, None, self.budget));
        }
        let budget = if told { self.budget } else { self.budget.min(UNTOLD_BUDGET) };
        let ending = Self { budget }.by_revisions(history, &compiled, &evidence, &mut stats);
        match ending {
            Ending::Order(order) => {
                let happened = |placed: &&Placed| !compiled.ops[placed.op as usize].must();
                stats.happened = order.iter().filter(happened).count();
                watches::check(history, &compiled, Some(&Log::replay(&compiled, &order)))?;
                Ok(Verdict::Valid(stats))
            }
            Ending::Dead { revision, left } => {
                Err(explain(history, compiled, &evidence, Some((revision, left)), self.budget))
            }
            Ending::Spent => match self.by_values(history, compiled, &evidence, stats)? {
                Verdict::Valid(stats) if told => Ok(Verdict::Undecided(stats)),
                other => Ok(other),
            },
        }
    }

    /// Looks for an order by revisions. Watches help to find out who made a revision; where there is
    /// no order with their help, one without it shows what they told wrong.
    fn by_revisions(
        self,
        history: &History,
        compiled: &Compiled,
        evidence: &Evidence,
        stats: &mut Stats,
    ) -> Ending {
        let mut search = |evidence: &Evidence| {
            let mut search = Search::new(compiled, 0..compiled.ops.len() as u32, Some(evidence));
            let ending = search.run(self.budget);
            stats.states += search.states;
            ending
        };
        if !history.watches.is_empty() {
            let mut helped = Evidence::gather(compiled);
            helped.watched(history, compiled);
            let ending = search(&helped);
            if matches!(ending, Ending::Order(_)) {
                return ending;
            }
        }
        search(evidence)
    }

    fn by_values(
        self,
        history: &History,
        compiled: Compiled,
        evidence: &Evidence,
        mut stats: Stats,
    ) -> Result<Verdict, Finding> {
        match general::check(&compiled, self.budget, &mut stats.states) {
            Values::Unexplained(ops) => Err(unexplained(history, compiled, evidence, &ops)),
            Values::Spent => Ok(Verdict::Undecided(stats)),
            Values::Explained => {
                watches::check(history, &compiled, None)?;
                Ok(Verdict::Valid(stats))
            }
        }
    }
}

/// Says why no order by revisions explains the history.
fn explain(
    history: &History,
    compiled: Compiled,
    evidence: &Evidence,
    end: Option<(u64, Vec<u32>)>,
    budget: usize,
) -> Finding {
    let case = Case { history, compiled: &compiled, evidence };
    if let Some(violation) = case.contradiction() {
        return violation;
    }
    if let Values::Unexplained(ops) = general::check(&compiled, budget, &mut 0) {
        return unexplained(history, compiled, evidence, &ops);
    }
    let (revision, left) = end.unwrap_or_default();
    let next = evidence.made.get(&(revision + 1));
    let sources = left.iter().chain(next).flat_map(|op| &compiled.ops[*op as usize].sources);
    let reason = format!(
        "an order explains the values, but none the revisions and versions: the longest ends after \
         revision {revision}, where none of these fits"
    );
    Finding::new(Kind::Revision, sources.copied().collect(), reason)
}

/// Says which few of `ops` no order of values explains.
fn unexplained(
    history: &History,
    mut compiled: Compiled,
    evidence: &Evidence,
    ops: &[u32],
) -> Finding {
    let case = Case { history, compiled: &compiled, evidence };
    let rule = case.contradiction();
    let ops = general::fewest(&mut compiled, ops);
    let sources = ops.iter().flat_map(|op| compiled.ops[*op as usize].sources.iter().copied());
    let reason = "no order of these operations explains their answers".into();
    let searched = Finding::new(Kind::Order, sources.collect(), reason);
    match rule {
        Some(rule) if rule.operations.len() <= searched.operations.len() => rule,
        _ => searched,
    }
}
