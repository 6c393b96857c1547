//! Snapshots on their way: the rows of a base as a stream of chunks, and back again.
//!
//! Also the format of backups. Portable across engines: rows travel as core sealed them. A chunk:
//!
//! ```text
//! crc32c u32 | number u32 | kind u8 | bytes u32 | content, compressed (lz4 block)    little endian
//! 0  header   "AXON", format u16, rows' hash u128, cluster id (0 or 1 and u128), index u64,
//!             length u32 and log id, membership
//! 1  rows     space u8, key length u32, row length u32, key, sealed row; sorted, none twice
//! 2  trailer  rows in the stream u64
//! ```
//!
//! Invariants: each checksum is seeded with the header's, so that no chunk of another snapshot
//! passes; chunks are taken in order, each once; nothing is put in place before the end has come
//! and order, checksums, count, hash, position and cluster have been checked.
//!
//! Everything here blocks on the disk.

use super::base::{Position, Summary};
use super::seal::{RowHasher, Totals, unseal};
use crate::error::StorageError;
use crate::storage::{Replacement, Result, Space, StateStore, StateView};
use crate::types::{ClusterId, LogIndex, Revision};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::ops::Bound;
use std::sync::Arc;

/// The newest format written and read here.
pub const SNAPSHOT_FORMAT: u16 = 1;
/// A chunk is closed once its content has this size.
pub const CHUNK_BYTES: usize = 1 << 20;
/// The largest content of a chunk: what fits below, and one row of the largest command.
pub const CHUNK_BYTES_MAX: usize = CHUNK_BYTES + (18 << 20);

/// No chunk is longer: its frame, and what a block that cannot be compressed grows by.
pub const CHUNK_FRAME_BYTES_MAX: usize = FRAME_BYTES + CHUNK_BYTES_MAX + CHUNK_BYTES_MAX / 100 + 64;

const MAGIC: &[u8; 4] = b"AXON";
const HEADER: u8 = 0;
const ROWS: u8 = 1;
const TRAILER: u8 = 2;
const FRAME_BYTES: usize = 13;

fn broken(reason: impl std::fmt::Display) -> StorageError {
    StorageError::Corrupt { path: "the snapshot".into(), offset: 0, reason: reason.to_string() }
}

/// Reads a snapshot out of the last checkpoint, chunk by chunk.
pub struct SnapshotSource {
    view: Arc<dyn StateView>,
    summary: Summary,
    seed: u32,
    number: u32,
    rows: u64,
    stage: Stage,
}

enum Stage {
    Header,
    /// The space that is being read, and the last key of it that was sent.
    Rows(usize, Option<Bytes>),
    End,
}

impl SnapshotSource {
    /// Fixes the last checkpoint of `store`. It may be newer than one that was asked for before.
    pub fn open(store: &dyn StateStore) -> Result<Self> {
        let view = store.view()?;
        let summary = Summary::read(&*view)?.ok_or_else(|| broken("there is no checkpoint yet"))?;
        Ok(Self { view, summary, seed: 0, number: 0, rows: 0, stage: Stage::Header })
    }

    /// Where the snapshot stands.
    pub fn position(&self) -> &Position {
        &self.summary.position
    }

    /// The revision that it shows.
    pub fn revision(&self) -> Revision {
        self.summary.registers.revision
    }

    /// Of which cluster it is, if that is known.
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.summary.registers.cluster_id
    }

    /// Makes the next chunk; `None` after the last.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        let mut content = BytesMut::new();
        let kind = match std::mem::replace(&mut self.stage, Stage::End) {
            Stage::Header => {
                self.put_header(&mut content);
                self.stage = Stage::Rows(0, None);
                HEADER
            }
            Stage::Rows(space, after) => {
                self.stage = self.put_rows(&mut content, space, after)?;
                if content.is_empty() {
                    content.put_u64_le(self.rows);
                    TRAILER
                } else {
                    ROWS
                }
            }
            Stage::End => return Ok(None),
        };
        let chunk = frame(self.seed, self.number, kind, &content);
        if kind == HEADER {
            self.seed = crc32c::crc32c(&chunk);
        }
        self.number += 1;
        Ok(Some(chunk))
    }

    fn put_header(&self, out: &mut BytesMut) {
        let Position { index, log_id, membership } = &self.summary.position;
        out.extend_from_slice(MAGIC);
        out.put_u16_le(SNAPSHOT_FORMAT);
        out.put_u128_le(self.summary.totals.hash);
        out.put_u8(u8::from(self.summary.registers.cluster_id.is_some()));
        out.put_u128_le(self.summary.registers.cluster_id.unwrap_or_default().0);
        out.put_u64_le(index.0);
        out.put_u32_le(log_id.len() as u32);
        out.extend_from_slice(log_id);
        out.extend_from_slice(membership);
    }

    /// Fills a chunk from where the last one ended. An empty chunk says that there are no more rows.
    fn put_rows(
        &mut self,
        out: &mut BytesMut,
        first: usize,
        mut after: Option<Bytes>,
    ) -> Result<Stage> {
        for (place, space) in Space::ALL.into_iter().enumerate().skip(first) {
            let start = after.take();
            let start = start.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
            for row in self.view.scan(space, start, Bound::Unbounded, false)? {
                let (key, sealed) = row?;
                unseal(space, &key, sealed.clone())?;
                out.put_u8(space as u8);
                out.put_u32_le(key.len() as u32);
                out.put_u32_le(sealed.len() as u32);
                out.extend_from_slice(&key);
                out.extend_from_slice(&sealed);
                self.rows += 1;
                if out.len() >= CHUNK_BYTES {
                    return Ok(Stage::Rows(place, Some(key)));
                }
            }
        }
        Ok(if out.is_empty() { Stage::End } else { Stage::Rows(Space::ALL.len(), None) })
    }
}

fn frame(seed: u32, number: u32, kind: u8, content: &[u8]) -> Bytes {
    let compressed = lz4_flex::block::compress(content);
    let mut out = BytesMut::with_capacity(FRAME_BYTES + compressed.len());
    out.put_u32_le(0);
    out.put_u32_le(number);
    out.put_u8(kind);
    out.put_u32_le(content.len() as u32);
    out.extend_from_slice(&compressed);
    let checksum = crc32c::crc32c_append(seed, &out[4..]);
    out[..4].copy_from_slice(&checksum.to_le_bytes());
    out.freeze()
}

/// Checks a frame and gives its kind and content.
fn unframe(seed: u32, number: u32, chunk: &[u8]) -> Result<(u8, Bytes)> {
    let mut rest = chunk;
    if rest.len() < FRAME_BYTES {
        return Err(broken(format_args!("chunk {number} is cut short")));
    }
    if rest.get_u32_le() != crc32c::crc32c_append(seed, rest) {
        return Err(broken(format_args!("chunk {number} is damaged, or of another snapshot")));
    }
    let found = rest.get_u32_le();
    if found != number {
        return Err(broken(format_args!("chunk {found} came, {number} was next")));
    }
    let kind = rest.get_u8();
    let bytes = rest.get_u32_le() as usize;
    if bytes > CHUNK_BYTES_MAX {
        return Err(broken(format_args!("chunk {number} claims {bytes} bytes")));
    }
    let content = lz4_flex::block::decompress(rest, bytes).map_err(broken)?;
    if content.len() != bytes {
        return Err(broken(format_args!("chunk {number} has another size than it claims")));
    }
    Ok((kind, content.into()))
}

/// Loads a snapshot beside the present state, chunk by chunk.
///
/// Dropped before the end, it leaves nothing behind.
pub struct SnapshotSink {
    replacement: Box<dyn Replacement>,
    cluster_id: Option<ClusterId>,
    seed: u32,
    number: u32,
    /// What the header promises; `None` before it came.
    header: Option<Header>,
    totals: Totals,
    hasher: RowHasher,
    rows: u64,
    last: Option<(Space, Bytes)>,
    meta: Vec<(Bytes, Bytes)>,
    ended: bool,
}

struct Header {
    position: Position,
    cluster_id: Option<ClusterId>,
    hash: u128,
}

impl SnapshotSink {
    /// Begins to load into `store`, of which the cluster is `cluster_id` if that is known.
    pub fn begin(store: &dyn StateStore, cluster_id: Option<ClusterId>) -> Result<Self> {
        Ok(Self {
            replacement: store.replace()?,
            cluster_id,
            seed: 0,
            number: 0,
            header: None,
            totals: Totals::default(),
            hasher: RowHasher::default(),
            rows: 0,
            last: None,
            meta: Vec::new(),
            ended: false,
        })
    }

    /// Where the snapshot stands; `None` before the first chunk was taken.
    pub fn position(&self) -> Option<&Position> {
        self.header.as_ref().map(|header| &header.position)
    }

    /// Takes the next chunk.
    pub fn take_chunk(&mut self, chunk: &[u8]) -> Result<()> {
        let (kind, content) = unframe(self.seed, self.number, chunk)?;
        match (kind, &self.header, self.ended) {
            (HEADER, None, false) => {
                self.header = Some(self.take_header(content)?);
                self.seed = crc32c::crc32c(chunk);
            }
            (ROWS, Some(_), false) => self.take_rows(content)?,
            (TRAILER, Some(_), false) => {
                if content.as_ref() != self.rows.to_le_bytes() {
                    return Err(broken(format_args!(
                        "{} rows came, not as many as sent",
                        self.rows
                    )));
                }
                self.ended = true;
            }
            _ => return Err(broken(format_args!("chunk {} of kind {kind}", self.number))),
        }
        self.number += 1;
        Ok(())
    }

    fn take_header(&self, content: Bytes) -> Result<Header> {
        let short = || broken("the header is cut short");
        let mut rest = content;
        if rest.len() < 6 || rest.split_to(4).as_ref() != MAGIC {
            return Err(broken("this is no snapshot"));
        }
        let format = rest.get_u16_le();
        if format > SNAPSHOT_FORMAT {
            return Err(StorageError::NewerFormat {
                path: "the snapshot".into(),
                found: format.into(),
                supported: SNAPSHOT_FORMAT.into(),
            });
        }
        let hash = rest.try_get_u128_le().map_err(|_| short())?;
        let founded = rest.try_get_u8().map_err(|_| short())? == 1;
        let id = ClusterId(rest.try_get_u128_le().map_err(|_| short())?);
        let index = LogIndex(rest.try_get_u64_le().map_err(|_| short())?);
        let log_id_bytes = rest.try_get_u32_le().map_err(|_| short())? as usize;
        if log_id_bytes > rest.len() {
            return Err(short());
        }
        let log_id = rest.split_to(log_id_bytes);
        let cluster_id = founded.then_some(id);
        if let (Some(ours), Some(theirs)) = (self.cluster_id, cluster_id)
            && ours != theirs
        {
            return Err(StorageError::Mismatch {
                path: "the snapshot".into(),
                reason: format!("it is of cluster {theirs}, this replica belongs to {ours}"),
            });
        }
        Ok(Header { position: Position { index, log_id, membership: rest }, cluster_id, hash })
    }

    fn take_rows(&mut self, mut rest: Bytes) -> Result<()> {
        while rest.has_remaining() {
            if rest.len() < 9 {
                return Err(broken("a row is cut short"));
            }
            let tag = rest.get_u8();
            let known = Space::ALL.into_iter().find(|space| *space as u8 == tag);
            let space = known.ok_or_else(|| broken(format_args!("a row of space {tag}")))?;
            let (key, row) = (rest.get_u32_le() as usize, rest.get_u32_le() as usize);
            if key.saturating_add(row) > rest.len() {
                return Err(broken("a row is cut short"));
            }
            let (key, sealed) = (rest.split_to(key), rest.split_to(row));
            self.take_row(space, key, &sealed)?;
        }
        Ok(())
    }

    fn take_row(&mut self, space: Space, key: Bytes, sealed: &Bytes) -> Result<()> {
        let place = (space, key);
        if self.last.as_ref().is_some_and(|last| *last >= place) {
            return Err(broken("rows out of order"));
        }
        let (_, key) = &place;
        let row = unseal(space, key, sealed.clone())?;
        self.totals.add(&mut self.hasher, space, key, &row);
        if space == Space::Meta {
            self.meta.push((key.clone(), sealed.clone()));
        }
        self.replacement.put(space, key, sealed)?;
        self.rows += 1;
        self.last = Some(place);
        Ok(())
    }

    /// Checks the whole.
    pub fn verify(self) -> Result<VerifiedSnapshot> {
        let header = self.header.filter(|_| self.ended);
        let header = header.ok_or_else(|| broken("its end is missing"))?;
        let summary = Summary::read(&MetaRows(self.meta))?;
        let summary = summary.ok_or_else(|| broken("the rows of `meta` are missing"))?;
        let mut promised = summary.totals;
        if summary.uncounted {
            promised.bytes = self.totals.bytes;
        }
        let consistent = summary.position == header.position
            && summary.registers.cluster_id == header.cluster_id
            && promised == self.totals
            && header.hash == self.totals.hash;
        if !consistent {
            return Err(broken("its hash, its position or its cluster does not match its rows"));
        }
        Ok(VerifiedSnapshot { replacement: self.replacement, position: header.position })
    }
}

/// The `meta` rows of a snapshot that is not in place yet.
struct MetaRows(Vec<(Bytes, Bytes)>);

impl StateView for MetaRows {
    fn get(&self, _: Space, key: &[u8]) -> Result<Option<Bytes>> {
        Ok(self.0.iter().find(|(known, _)| known == key).map(|(_, row)| row.clone()))
    }

    fn scan(
        &self,
        _: Space,
        _: Bound<&[u8]>,
        _: Bound<&[u8]>,
        _: bool,
    ) -> Result<crate::storage::Rows<'_>> {
        Ok(Box::new(std::iter::empty()))
    }
}

/// A snapshot that is loaded and checked, and waits to be put in place.
pub struct VerifiedSnapshot {
    replacement: Box<dyn Replacement>,
    position: Position,
}

impl VerifiedSnapshot {
    /// Where it stands.
    pub fn position(&self) -> &Position {
        &self.position
    }

    pub(crate) fn put_in_place(self) -> Result<()> {
        self.replacement.finish()
    }
}
