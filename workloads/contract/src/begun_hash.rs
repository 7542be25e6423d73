//! SHA-1 of texts that begin the same way. What they share is hashed once, and an end of a usual length takes one call of
//! the compression function, with no buffer to be filled first.

use sha1::block_api::compress;

/// Bytes of a block.
const BLOCK: usize = 64;
/// Blocks that the usual end fits into, padding included.
const USUAL: usize = 3;
/// The padding's first byte and the length, which ends the last block (FIPS 180-4, 5.1.1).
const PADDING: usize = 1 + 8;
/// The state before the first block (FIPS 180-4, 5.3.1).
const START: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

/// The beginning of texts.
#[derive(Debug, Clone)]
pub(crate) struct BegunHash {
    state: [u32; 5],
    /// Blocks that are in the state.
    blocks: u64,
    /// What is not in it yet; zero behind that.
    rest: [u8; BLOCK],
    filled: usize,
}

impl BegunHash {
    /// Nothing yet.
    pub(crate) fn new() -> BegunHash {
        BegunHash {
            state: START,
            blocks: 0,
            rest: [0; BLOCK],
            filled: 0,
        }
    }

    /// Goes on with these bytes.
    #[inline]
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        // Most parts are short, and fill no block.
        match self.rest.get_mut(self.filled..self.filled + bytes.len()) {
            Some(room) if self.filled + bytes.len() < BLOCK => {
                room.copy_from_slice(bytes);
                self.filled += bytes.len();
            }
            _ => self.add_blocks(bytes),
        }
    }

    fn add_blocks(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = &mut self.rest[self.filled..];
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            room[..now.len()].copy_from_slice(now);
            self.filled += now.len();
            bytes = later;
            if self.filled == BLOCK {
                compress(&mut self.state, &[self.rest]);
                self.blocks += 1;
                self.rest = [0; BLOCK];
                self.filled = 0;
            }
        }
    }

    /// The hash of the texts that go on with `parts` and end there, five words.
    pub(crate) fn end<const PARTS: usize>(&self, parts: [&[u8]; PARTS]) -> [u32; 5] {
        let length = self.filled + parts.iter().map(|part| part.len()).sum::<usize>();
        if length + PADDING > USUAL * BLOCK {
            let mut longer = self.clone();
            parts.into_iter().for_each(|part| longer.add(part));
            return longer.end([]);
        }
        let mut blocks = [[0; BLOCK]; USUAL];
        blocks[0] = self.rest;
        let text = blocks.as_flattened_mut();
        let mut at = self.filled;
        for part in parts {
            text[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        text[at] = 0x80;
        let end = (length + PADDING).next_multiple_of(BLOCK);
        let bits = 8 * (self.blocks * BLOCK as u64 + length as u64);
        text[end - 8..end].copy_from_slice(&bits.to_be_bytes());
        let mut state = self.state;
        compress(&mut state, &blocks[..end / BLOCK]);
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sha1::{Digest, Sha1};

    proptest! {
        #[test]
        fn it_is_the_hash_of_the_whole(
            begin in proptest::collection::vec(any::<u8>(), 0..200),
            cuts in any::<[proptest::sample::Index; 2]>(),
            end in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let whole: [u8; 20] = Sha1::new().chain_update(&begin).chain_update(&end).finalize().into();
            let mut hash = BegunHash::new();
            let (one, other) = begin.split_at(cuts[0].index(begin.len() + 1));
            hash.add(one);
            hash.add(other);
            let (one, other) = end.split_at(cuts[1].index(end.len() + 1));
            let words: Vec<u32> = whole.as_chunks::<4>().0.iter().map(|word| u32::from_be_bytes(*word)).collect();
            prop_assert_eq!(hash.end([one, other]).to_vec(), words);
        }
    }
}
