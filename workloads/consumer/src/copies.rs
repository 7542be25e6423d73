//! Copies of keys and values, in a few large pieces of memory: thousands of them are made one by one and given up at once.

/// Bytes of memory that are taken at a time.
const PIECE: usize = 256 * 1024;

/// Texts, one behind the other.
#[derive(Debug, Default)]
pub struct Copies {
    pieces: Vec<Vec<u8>>,
}

/// Where a copy lies.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    piece: u32,
    begin: u32,
    end: u32,
}

impl Place {
    /// Length of the copy, bytes.
    pub fn bytes(self) -> usize {
        (self.end - self.begin) as usize
    }
}

impl Copies {
    /// Copies `text`, which is no longer than 4 GiB: Kafka's messages cannot be.
    pub fn add(&mut self, text: &[u8]) -> Place {
        let has_room = |piece: &&mut Vec<u8>| piece.capacity() - piece.len() >= text.len();
        if self.pieces.last_mut().filter(has_room).is_none() {
            self.pieces.push(Vec::with_capacity(text.len().max(PIECE)));
        }
        let number = self.pieces.len() - 1;
        let piece = &mut self.pieces[number];
        let begin = piece.len();
        piece.extend_from_slice(text);
        Place {
            piece: number as u32,
            begin: begin as u32,
            end: piece.len() as u32,
        }
    }

    /// The copy.
    pub fn get(&self, place: Place) -> &[u8] {
        &self.pieces[place.piece as usize][place.begin as usize..place.end as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_copy_is_found_again(lengths in proptest::collection::vec(
            prop_oneof![0..100_usize, PIECE - 1..PIECE + 2, 0..3 * PIECE],
            0..20,
        )) {
            let texts: Vec<Vec<u8>> = (0_u8..).zip(lengths).map(|(byte, length)| vec![byte; length]).collect();
            let mut copies = Copies::default();
            let places: Vec<Place> = texts.iter().map(|text| copies.add(text)).collect();
            for (text, place) in texts.iter().zip(places) {
                prop_assert!(copies.get(place) == text);
                prop_assert_eq!(place.bytes(), text.len());
            }
        }
    }
}
