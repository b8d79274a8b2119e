//! What flows through a pipe: tables at a version, columnar batches of changes, positions. Knows no system and no plugin.

pub mod batch;
pub mod calendar;
pub mod collapse;
pub mod column;
pub mod interval;
pub mod lossy;
pub mod numeric;
pub mod pattern;
pub mod position;
pub mod rows;
pub mod special;
pub mod table;

pub use batch::{Batch, ColumnChange, Content, OldKeys, Op, Part, Payload, Rows, SchemaChange, Txn, WireFormat};
pub use collapse::{Merged, collapse};
pub use column::{Column, LogicalType};
pub use lossy::{Losses, Lossy, LossyColumn};
pub use position::{Position, Witness};
pub use table::{TableId, TableName, TableVersion, quoted};
