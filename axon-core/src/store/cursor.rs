//! Cursors: where a query goes on, in a form that clients carry.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

/// Where a query goes on. Opaque: printed for a client to keep, parsed when it comes back.
///
/// It names the store, the query and the revision, so that pages of one listing are of one moment,
/// whichever replica serves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(());

impl fmt::Display for Cursor {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!("cursors")
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(_: &str) -> Result<Self, Error> {
        unimplemented!("cursors")
    }
}
