//! MariaDB's `inet6` as text, which the log has as bytes.

/// As MariaDB writes an `inet6` in answers, which the snapshot has: the first of the longest runs of zero words is left out, one word alone too; a run from
/// the start of six words, or of five before `ffff`, has an IPv4 address behind it. (What MariaDB 10.11 answers; `tests/python/crossing.py` compares.)
pub fn text(bytes: [u8; 16]) -> String {
    let words: [u16; 8] = std::array::from_fn(|i| u16::from_be_bytes([bytes[2 * i], bytes[2 * i + 1]]));
    let (mut start, mut length, mut at) = (0, 0, 0);
    while at < words.len() {
        let run = words[at..].iter().take_while(|w| **w == 0).count();
        if run > length {
            (start, length) = (at, run);
        }
        at += run.max(1);
    }
    let mapped = start == 0 && (length == 6 || length == 5 && words[5] == 0xffff);
    let mut out = String::with_capacity(39);
    let mut at = 0;
    while at < words.len() {
        if length > 0 && at == start {
            out.push_str("::");
            at += length;
            continue;
        }
        if !out.is_empty() && !out.ends_with(':') {
            out.push(':');
        }
        if mapped && at == 6 {
            out.push_str(&format!("{}.{}.{}.{}", bytes[12], bytes[13], bytes[14], bytes[15]));
            break;
        }
        out.push_str(&format!("{:x}", words[at]));
        at += 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_mariadb_writes_them() {
        let cases = [
            ([0u16, 0, 0, 0, 0, 0, 0, 0], "::"),
            ([0, 0, 0, 0, 0, 0, 0, 1], "::1"),
            ([0, 0, 0, 0, 0, 0, 0x102, 0x304], "::1.2.3.4"),
            ([0, 0, 0, 0, 0, 0, 1, 0], "::0.1.0.0"),
            ([0, 0, 0, 0, 0, 0xffff, 0x102, 0x304], "::ffff:1.2.3.4"),
            ([1, 0, 2, 0, 3, 0, 4, 0], "1::2:0:3:0:4:0"),
            ([1, 2, 3, 4, 5, 6, 7, 0], "1:2:3:4:5:6:7::"),
            ([0x2001, 0xdb8, 0, 0, 1, 0, 0, 1], "2001:db8::1:0:0:1"),
            ([1, 2, 3, 4, 5, 6, 7, 8], "1:2:3:4:5:6:7:8"),
        ];
        for (words, want) in cases {
            let mut bytes = [0; 16];
            words.iter().enumerate().for_each(|(i, w)| bytes[2 * i..2 * i + 2].copy_from_slice(&w.to_be_bytes()));
            assert_eq!(text(bytes), want);
        }
    }
}
