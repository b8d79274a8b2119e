//! Errors, notices and the small fixed messages, as the protocol frames them.

use super::encode::{Column, Encoder, Format};
use super::wire::Wire;
use crate::error::{Error, Kind, Result};
use crate::plan::Notice;
use pgwire::messages::PgWireBackendMessage as Backend;
use pgwire::messages::data::{FieldDescription, NoData, ParameterDescription, RowDescription};
use pgwire::messages::response::{CommandComplete, EmptyQueryResponse, ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus};
use pgwire::messages::startup::ParameterStatus;

/// The error of a session that is ended from outside.
pub fn terminated() -> Error {
    Error::new(Kind::ShuttingDown, "terminating connection due to administrator command")
}

/// `query` is the client's text, for POSITION.
pub fn error(wire: &mut Wire, severity: &str, error: &Error, query: Option<&str>) -> Result<()> {
    let mut fields = vec![(b'S', severity.to_string()), (b'V', severity.to_string()), (b'C', error.sqlstate().to_string()), (b'M', shown(error.message()))];
    fields.extend(error.detail().map(|d| (b'D', shown(d))));
    fields.extend(error.hint().map(|h| (b'H', shown(h))));
    fields.extend(position(error.position(), query).map(|p| (b'P', p)));
    wire.put(Backend::ErrorResponse(ErrorResponse::new(fields)))
}

/// Sends a notice, unless `client_min_messages` is above it.
pub fn notice(wire: &mut Wire, notice: &Notice, query: Option<&str>, least: &str) -> Result<()> {
    const LEVELS: [&str; 9] = ["debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error"];
    let rank = |level: &str| LEVELS.iter().position(|l| l.eq_ignore_ascii_case(level)).unwrap_or(6);
    if !notice.severity.eq_ignore_ascii_case("info") && rank(notice.severity) < rank(least) {
        return Ok(());
    }
    let mut fields = vec![(b'S', notice.severity.to_string()), (b'V', notice.severity.to_string()), (b'C', notice.sqlstate.to_string()), (b'M', shown(&notice.message))];
    fields.extend(notice.detail.as_deref().map(|d| (b'D', shown(d))));
    fields.extend(notice.hint.as_deref().map(|h| (b'H', shown(h))));
    fields.extend(position(notice.position, query).map(|p| (b'P', p)));
    wire.put(Backend::NoticeResponse(NoticeResponse::new(fields)))
}

/// A zero would end the field early and leave the rest to be read as other fields.
fn shown(text: &str) -> String {
    text.replace('\0', "\\0")
}

/// PostgreSQL's POSITION: the 1-based index of the character at a byte offset.
fn position(byte: Option<usize>, query: Option<&str>) -> Option<String> {
    let (byte, query) = (byte?, query?);
    Some(standpipe_grammar::char_position(query, byte).to_string())
}

/// CommandComplete.
pub fn complete(wire: &mut Wire, tag: impl Into<String>) -> Result<()> {
    wire.put(Backend::CommandComplete(CommandComplete::new(tag.into())))
}

/// EmptyQueryResponse.
pub fn empty(wire: &mut Wire) -> Result<()> {
    wire.put(Backend::EmptyQueryResponse(EmptyQueryResponse::new()))
}

/// ReadyForQuery: `I` idle, `T` in a block, `E` in a failed block.
pub fn ready(wire: &mut Wire, status: u8) -> Result<()> {
    let status = TransactionStatus::try_from(status).unwrap_or(TransactionStatus::Idle);
    wire.put(Backend::ReadyForQuery(ReadyForQuery::new(status)))
}

/// ParameterStatus.
pub fn parameter(wire: &mut Wire, name: &str, value: &str) -> Result<()> {
    wire.put(Backend::ParameterStatus(ParameterStatus::new(name.into(), shown(value))))
}

/// ParameterDescription.
pub fn parameters(wire: &mut Wire, types: &[u32]) -> Result<()> {
    let mut message = ParameterDescription::default();
    message.types = types.to_vec();
    wire.put(Backend::ParameterDescription(message))
}

/// NoData.
pub fn no_data(wire: &mut Wire) -> Result<()> {
    wire.put(Backend::NoData(NoData::new()))
}

fn field(column: &Column, format: Format) -> FieldDescription {
    FieldDescription::new(shown(&column.name), 0, 0, column.oid, column.len, -1, format.code())
}

/// RowDescription of a statement, whose formats are not known yet.
pub fn columns(wire: &mut Wire, columns: &[Column]) -> Result<()> {
    let fields = columns.iter().map(|c| field(c, Format::Text)).collect();
    wire.put(Backend::RowDescription(RowDescription::new(fields)))
}

/// RowDescription of a result.
pub fn described(wire: &mut Wire, encoder: &Encoder) -> Result<()> {
    let fields = encoder.columns().map(|(c, f)| field(c, f)).collect();
    wire.put(Backend::RowDescription(RowDescription::new(fields)))
}
