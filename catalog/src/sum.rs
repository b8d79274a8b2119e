//! A 64-bit sum that tells a row read from the disk from the row that was written.
//!
//! FNV-1a: each step is a bijection, so any change of a single byte changes the sum. The final mix makes sums of many
//! rows safe to combine by exclusive or. It guards against accidents, not against attackers.

const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The sum of `parts`, each with its length, so that bytes cannot move from one part to the next.
pub(crate) fn sum(parts: &[&[u8]]) -> u64 {
    let mut state = OFFSET;
    let mut step = |byte: u8| state = (state ^ u64::from(byte)).wrapping_mul(PRIME);
    for part in parts {
        (part.len() as u64).to_le_bytes().into_iter().for_each(&mut step);
        part.iter().copied().for_each(&mut step);
    }
    mix(state)
}

/// The finalizer of splitmix64.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The sum of a record as it stands in the store.
pub(crate) fn record(collection: &str, key: &[u8], version: u64, value: &str) -> u64 {
    sum(&[collection.as_bytes(), key, &version.to_le_bytes(), value.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_bit_counts() {
        let text = br#"{"position":"0/16B3748"}"#;
        let whole = sum(&[text]);
        for bit in 0..text.len() * 8 {
            let mut flipped = text.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(sum(&[&flipped]), whole, "bit {bit}");
        }
        assert_ne!(sum(&[b"ab", b"c"]), sum(&[b"a", b"bc"]));
    }
}
