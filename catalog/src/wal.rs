//! Tells a torn end of the write-ahead log from damage inside it.
//!
//! SQLite reads its log up to the first frame whose checksum fails and drops what follows: right for the end of a write
//! that a crash cut short, but a flipped bit further up would silently take back writes that were acknowledged. A
//! write is begun only after the one before it is on the disk, so a whole write behind a broken one means damage.
//! The format is that of <https://sqlite.org/fileformat2.html#walformat>.

use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const MAGIC_LITTLE: u32 = 0x377f_0682;
const MAGIC_BIG: u32 = 0x377f_0683;

/// Looks through a log; the error says what is wrong with it. No file is an empty log.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    match std::fs::read(path) {
        Ok(bytes) => inspect(&bytes),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e.to_string()),
    }
}

fn inspect(bytes: &[u8]) -> Result<(), String> {
    let Some(header) = bytes.get(..HEADER) else { return Ok(()) };
    let frames = &bytes[HEADER..];
    let Some(header) = Header::read(header) else { return inspect_broken_header(header, frames) };
    let size = FRAME_HEADER + header.page_bytes;
    let mut state = header.sum;
    let mut valid = 0;
    for frame in frames.chunks_exact(size) {
        let next = header.checksum(header.checksum(state, &frame[..8]), &frame[FRAME_HEADER..]);
        if frame[8..16] != header.salt || [word(frame, 16), word(frame, 20)] != next {
            break;
        }
        state = next;
        valid += 1;
    }
    let mut rest = frames.chunks_exact(size).skip(valid).map(|frame| (frame[8..16] == header.salt, word(frame, 4) != 0));
    // The write that holds the broken frame ends with its commit frame; anything of this log behind that is a later one.
    let ended = rest.any(|(ours, commits)| ours && commits);
    let later = rest.filter(|(ours, _)| *ours).count();
    if ended && later > 0 {
        return Err(format!("frame {} is broken, {later} frames of later writes follow it", valid + 1));
    }
    Ok(())
}

/// A header that a crash cut short stands before frames of the log before it, or none; frames that fit it mean damage.
fn inspect_broken_header(header: &[u8], frames: &[u8]) -> Result<(), String> {
    let Some(salt) = frames.get(8..16) else { return Ok(()) };
    let mut mended = header.to_vec();
    mended[16..24].copy_from_slice(salt);
    if &header[16..24] == salt || Header::read(&mended).is_some() {
        return Err("its header is broken, the frames after it are not".to_string());
    }
    Ok(())
}

struct Header {
    big: bool,
    page_bytes: usize,
    salt: [u8; 8],
    sum: [u32; 2],
}

impl Header {
    /// `None` when its checksum does not fit.
    fn read(bytes: &[u8]) -> Option<Header> {
        let big = match word(bytes, 0) {
            MAGIC_LITTLE => false,
            MAGIC_BIG => true,
            _ => return None,
        };
        let page_bytes = usize::try_from(word(bytes, 8)).ok().filter(|n| (512..=65_536).contains(n))?;
        let mut header = Header { big, page_bytes, salt: bytes[16..24].try_into().ok()?, sum: [0, 0] };
        header.sum = header.checksum([0, 0], &bytes[..24]);
        (header.sum == [word(bytes, 24), word(bytes, 28)]).then_some(header)
    }

    fn checksum(&self, [mut a, mut b]: [u32; 2], bytes: &[u8]) -> [u32; 2] {
        let number = |bytes: &[u8]| {
            let bytes = [bytes[0], bytes[1], bytes[2], bytes[3]];
            if self.big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        for pair in bytes.chunks_exact(8) {
            a = a.wrapping_add(number(&pair[..4])).wrapping_add(b);
            b = b.wrapping_add(number(&pair[4..])).wrapping_add(a);
        }
        [a, b]
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
