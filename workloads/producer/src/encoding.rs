//! Compressed bodies: unpacked as a stream that ends at a limit, whatever the packed bytes claim.

use crate::refusal::Refusal;
use actix_web::{
    http::header::{self, HeaderMap},
    web::Bytes,
};
use std::io::Read;

/// Bytes unpacked at a time.
const PIECE: usize = 16 * 1024;
/// Largest window that a zstd frame may ask for, as a power of two: 8 MiB, what RFC 9659 allows a sender of HTTP. It
/// bounds the decoder's own memory, which a worker uses for one body at a time.
const WINDOW_LOG_MAX: u32 = 23;
/// What every frame of zstd begins with. The library would also read formats from before its first release, whose
/// memory has no such bound.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How a body is packed, by `Content-Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// What these headers say. More than one encoding is none that is known.
    pub fn of(headers: &HeaderMap) -> Result<Encoding, Refusal> {
        let mut named = headers.get_all(header::CONTENT_ENCODING);
        let Some(name) = named.next() else {
            return Ok(Encoding::Identity);
        };
        let known = match name.to_str().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "identity" => Some(Encoding::Identity),
            "gzip" | "x-gzip" => Some(Encoding::Gzip),
            "zstd" => Some(Encoding::Zstd),
            _ => None,
        };
        known.filter(|_| named.next().is_none()).ok_or(Refusal::Encoding)
    }

    /// Name for clients.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        }
    }

    /// Unpacks `packed` to at most `limit` bytes. It takes a few milliseconds.
    pub fn unpack(self, packed: &[u8], limit: usize) -> Result<Bytes, Refusal> {
        let broken = |_| Refusal::Packed { encoding: self.name() };
        let (unpacked, rest) = match self {
            Encoding::Identity => return Ok(Bytes::copy_from_slice(packed)),
            Encoding::Gzip => {
                let mut decoder = flate2::bufread::GzDecoder::new(packed);
                let unpacked = collect(&mut decoder, limit, broken)?;
                (unpacked, decoder.into_inner())
            }
            Encoding::Zstd if !packed.starts_with(&ZSTD_MAGIC) => {
                return Err(Refusal::Packed { encoding: self.name() });
            }
            Encoding::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(packed).map_err(broken)?.single_frame();
                decoder.window_log_max(WINDOW_LOG_MAX).map_err(broken)?;
                let unpacked = collect(&mut decoder, limit, broken)?;
                (unpacked, decoder.finish())
            }
        };
        // A second part would be work without end: thousands of empty ones fit into a body.
        if !rest.is_empty() {
            return Err(Refusal::Packed { encoding: self.name() });
        }
        Ok(unpacked.into())
    }
}

fn collect(
    packed: &mut impl Read,
    limit: usize,
    broken: impl Fn(std::io::Error) -> Refusal,
) -> Result<Vec<u8>, Refusal> {
    let mut unpacked = Vec::new();
    let mut piece = [0; PIECE];
    loop {
        let read = packed.read(&mut piece).map_err(&broken)?;
        if read == 0 {
            return Ok(unpacked);
        }
        let length = unpacked.len() + read;
        if length > limit {
            return Err(Refusal::BodyTooLarge { limit });
        }
        if length > unpacked.capacity() {
            // Doubled as usual, but never beyond the limit.
            let capacity = (unpacked.capacity() * 2).clamp(length, limit);
            unpacked.reserve_exact(capacity - unpacked.len());
        }
        unpacked.extend_from_slice(&piece[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    const LIMIT: usize = 100_000;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(plain: &[u8]) -> Vec<u8> {
        zstd::encode_all(plain, 3).unwrap()
    }

    type Pack = fn(&[u8]) -> Vec<u8>;

    const BOTH: [(Encoding, Pack); 2] = [(Encoding::Gzip, gzip), (Encoding::Zstd, zstd)];

    fn of(values: &[&'static str]) -> Result<Encoding, Refusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
        }
        Encoding::of(&headers)
    }

    #[test]
    fn one_known_encoding_is_taken() {
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["identity"]), Ok(Encoding::Identity));
        assert_eq!(of(&["GZip"]), Ok(Encoding::Gzip));
        assert_eq!(of(&["zstd"]), Ok(Encoding::Zstd));
        for other in [&["br"][..], &["gzip, zstd"], &["gzip", "zstd"], &[""]] {
            assert_eq!(of(other), Err(Refusal::Encoding), "{other:?}");
        }
    }

    #[test]
    fn a_body_of_the_limit_is_unpacked_and_a_longer_one_is_not() {
        for (encoding, pack) in BOTH {
            let plain = vec![b' '; LIMIT];
            let unpacked = encoding.unpack(&pack(&plain), LIMIT).unwrap();
            assert_eq!(unpacked.len(), LIMIT);
            let too_long = vec![b' '; LIMIT + 1];
            assert_eq!(
                encoding.unpack(&pack(&too_long), LIMIT),
                Err(Refusal::BodyTooLarge { limit: LIMIT })
            );
        }
    }

    #[test]
    fn a_bomb_takes_no_more_memory_than_the_limit() {
        struct Zeros;
        impl Read for Zeros {
            fn read(&mut self, piece: &mut [u8]) -> std::io::Result<usize> {
                piece.fill(0);
                Ok(piece.len())
            }
        }
        let never = |error| panic!("{error}");
        assert_eq!(
            collect(&mut Zeros, LIMIT, never),
            Err(Refusal::BodyTooLarge { limit: LIMIT })
        );
        for (length, capacity) in [(PIECE, PIECE), (90_000, LIMIT), (LIMIT, LIMIT)] {
            let unpacked = collect(&mut Zeros.take(length as u64), LIMIT, never).unwrap();
            assert!(unpacked.capacity() <= capacity, "{}", unpacked.capacity());
        }
    }

    #[test]
    fn a_frame_whose_window_is_too_large_is_refused_before_memory_is_taken() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(b"{}").unwrap();
        encoder.flush().unwrap();
        encoder.write_all(b"{}").unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(
            Encoding::Zstd.unpack(&packed, LIMIT),
            Err(Refusal::Packed { encoding: "zstd" })
        );
    }

    #[test]
    fn what_follows_the_first_part_is_refused() {
        for (encoding, pack) in BOTH {
            let mut packed = pack(b"{}");
            assert_eq!(encoding.unpack(&packed, LIMIT).unwrap(), "{}");
            packed.extend(pack(b""));
            assert_eq!(
                encoding.unpack(&packed, LIMIT),
                Err(Refusal::Packed {
                    encoding: encoding.name()
                })
            );
        }
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_back(plain in prop::collection::vec(any::<u8>(), 0..5_000)) {
            for (encoding, pack) in BOTH {
                prop_assert_eq!(&encoding.unpack(&pack(&plain), LIMIT).unwrap(), &plain);
            }
        }

        #[test]
        fn a_body_cut_short_or_changed_is_refused_or_unpacked_within_the_limit(
            plain in prop::collection::vec(any::<u8>(), 1..2_000),
            cut in 0.0..1.0f64,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            for (encoding, pack) in BOTH {
                let packed = pack(&plain);
                let short = &packed[..(packed.len() as f64 * cut) as usize];
                let refused = Err(Refusal::Packed { encoding: encoding.name() });
                prop_assert_eq!(encoding.unpack(short, LIMIT), refused);
                let mut changed = packed;
                for (index, byte) in &changes {
                    let index = index.index(changed.len());
                    changed[index] = *byte;
                }
                if let Ok(unpacked) = encoding.unpack(&changed, LIMIT) {
                    prop_assert!(unpacked.len() <= LIMIT);
                }
            }
        }
    }
}
