//! Deletion vectors: all touched files' bitmaps of one commit in one `.bin` file, and the way back from a descriptor to a bitmap.

use super::fault;
use super::location::TableLocation;
use crate::error::{Error, Kind, Result};
use bytes::Bytes;
use delta_kernel::actions::deletion_vector::{DeletionVectorDescriptor as KernelDescriptor, DeletionVectorStorageType};
use delta_kernel::actions::deletion_vector_writer::{DeletionVector, StreamingDeletionVectorWriter};
use deltalake::kernel::{DeletionVectorDescriptor, StorageType};
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use roaring::{RoaringBitmap, RoaringTreemap};
use std::sync::Arc;
use uuid::Uuid;

struct Positions<'a>(&'a RoaringBitmap);

impl DeletionVector for Positions<'_> {
    type IndexIterator = std::vec::IntoIter<u64>;

    fn into_iter(self) -> Self::IndexIterator {
        self.0.iter().map(u64::from).collect::<Vec<_>>().into_iter()
    }

    fn cardinality(&self) -> u64 {
        self.0.len()
    }

    fn serialize(self) -> delta_kernel::DeltaResult<Bytes> {
        // The 64-bit form of a bitmap below 2^32: one high word, zero, and the bitmap itself.
        let treemap = RoaringTreemap::from_bitmaps([(0, self.0.clone())]);
        let mut out = Vec::with_capacity(treemap.serialized_size());
        treemap.serialize_into(&mut out).map_err(|e| delta_kernel::Error::generic(e.to_string()))?;
        Ok(out.into())
    }
}

/// Writes the bitmaps into one new file and gives their descriptors in the same order. No bitmap is empty.
pub async fn write(location: &TableLocation, bitmaps: &[&RoaringBitmap]) -> Result<Vec<DeletionVectorDescriptor>> {
    if bitmaps.is_empty() {
        return Ok(vec![]);
    }
    let mut buffer = Vec::new();
    let mut writer = StreamingDeletionVectorWriter::new(&mut buffer);
    let id = Uuid::new_v4();
    let encoded = z85::encode(id.as_bytes());
    let mut descriptors = Vec::with_capacity(bitmaps.len());
    for bitmap in bitmaps {
        let written = writer.write_deletion_vector(Positions(bitmap)).map_err(fault::kernel)?;
        descriptors.push(DeletionVectorDescriptor {
            storage_type: StorageType::UuidRelativePath,
            path_or_inline_dv: encoded.clone(),
            offset: Some(written.offset),
            size_in_bytes: written.size_in_bytes,
            cardinality: written.cardinality,
        });
    }
    writer.finalize().map_err(fault::kernel)?;
    let path = Path::from(file_name(&id));
    location.store.put_opts(&path, PutPayload::from(buffer), PutOptions::from(PutMode::Create)).await.map_err(fault::store)?;
    Ok(descriptors)
}

fn file_name(id: &Uuid) -> String {
    format!("deletion_vector_{}.bin", id.hyphenated())
}

/// The file that a descriptor's vector is in, relative to the table; `None` for one that is inline or elsewhere.
pub fn file_of(descriptor: &DeletionVectorDescriptor) -> Option<String> {
    if descriptor.storage_type != StorageType::UuidRelativePath {
        return None;
    }
    // Other writers may put a prefix, a directory, before the 20 characters of the uuid.
    let text = &descriptor.path_or_inline_dv;
    let (prefix, id) = text.split_at_checked(text.len().checked_sub(20)?)?;
    let id = Uuid::from_slice(&z85::decode(id).ok()?).ok()?;
    Some(if prefix.is_empty() { file_name(&id) } else { format!("{prefix}/{}", file_name(&id)) })
}

/// Reads the bitmap of a descriptor, checksum included.
pub async fn read(location: &TableLocation, descriptor: &DeletionVectorDescriptor) -> Result<RoaringBitmap> {
    let kernel = KernelDescriptor {
        storage_type: match descriptor.storage_type {
            StorageType::UuidRelativePath => DeletionVectorStorageType::PersistedRelative,
            StorageType::Inline => DeletionVectorStorageType::Inline,
            StorageType::AbsolutePath => DeletionVectorStorageType::PersistedAbsolute,
        },
        path_or_inline_dv: descriptor.path_or_inline_dv.clone(),
        offset: descriptor.offset,
        size_in_bytes: descriptor.size_in_bytes,
        cardinality: descriptor.cardinality,
    };
    let engine = location.log_store().engine(None);
    let url = location.url.clone();
    let treemap = tokio::task::spawn_blocking(move || kernel.read(engine.storage_handler(), &url)).await.map_err(fault::join)?.map_err(fault::kernel)?;
    let mut bitmap = RoaringBitmap::new();
    for (high, part) in treemap.bitmaps() {
        if high != 0 {
            return Err(Error::new(Kind::NotSupported, "a data file has more than 2^32 rows").with_detail(location.name.clone()));
        }
        bitmap |= part;
    }
    Ok(bitmap)
}

/// Bitmaps are shared between versions of a table; only a changed one is copied.
pub fn with(dead: &Arc<RoaringBitmap>, more: impl IntoIterator<Item = u32>) -> Arc<RoaringBitmap> {
    let mut bitmap = RoaringBitmap::clone(dead);
    bitmap.extend(more);
    Arc::new(bitmap)
}
