//! Rows that are changed behind a replica's back, so that only the hash of its state can tell.

use crate::state::seal_again;
use crate::storage::{Result, RowChange, Space, StateStore};
use bytes::{Bytes, BytesMut};

/// Flips `bit` of the last byte of a row in the base, and gives the row a checksum that fits: what a
/// bug would leave. `false` when there is no such row.
///
/// Whoever has a view open does not see it; the base that the next checkpoint opens has it.
///
/// # Errors
/// Those of the store.
pub fn tamper(store: &dyn StateStore, space: Space, key: &[u8], bit: u8) -> Result<bool> {
    let Some(sealed) = store.view()?.get(space, key)? else { return Ok(false) };
    let mut changed = BytesMut::from(&sealed[..]);
    let value = seal_again(space, key, &mut changed, |row| {
        if let Some(last) = row.last_mut() {
            *last ^= 1 << (bit % 8);
        }
    });
    let change = RowChange { space, key: Bytes::copy_from_slice(key), value: Some(value) };
    store.commit(&mut [change].into_iter())?;
    Ok(true)
}
