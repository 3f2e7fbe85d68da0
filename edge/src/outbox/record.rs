//! The format of a stored punch: with magic bytes, length, checksum and number, so that salvage finds it in the bytes of a
//! file that sled can't open any more.

const MAGIC: &[u8; 8] = b"RCpunch1";
/// Bytes in front of the punch: magic, length, checksum, epoch, number, `through`.
pub const OVERHEAD: usize = 8 + 4 + 4 + 3 * 8;
/// Bytes of a punch, at most; usually about 150.
pub const LONGEST: usize = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The store's epoch when it was written.
    pub epoch: u64,
    pub seq: u64,
    /// Receipts covered all numbers up to this one when it was written.
    pub through: u64,
    /// The encoded punch.
    pub punch: &'a [u8],
}

impl<'a> Record<'a> {
    pub fn encode(&self) -> Vec<u8> {
        let body = [
            &self.epoch.to_be_bytes(),
            &self.seq.to_be_bytes(),
            self.through.to_be_bytes().as_slice(),
            self.punch,
        ]
        .concat();
        let length = (self.punch.len() as u32).to_be_bytes();
        [MAGIC.as_slice(), &length, &crc32fast::hash(&body).to_be_bytes(), &body].concat()
    }

    /// The intact record at the start of `bytes`, if there is one.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (length, rest) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
        let (sum, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let body = rest.get(..(3 * 8 + length)).filter(|_| length <= LONGEST)?;
        if crc32fast::hash(body) != u32::from_be_bytes(*sum) {
            return None;
        }
        let (epoch, body) = body.split_first_chunk::<8>()?;
        let (seq, body) = body.split_first_chunk::<8>()?;
        let (through, punch) = body.split_first_chunk::<8>()?;
        let number = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
        Some(Self { epoch: number(epoch), seq: number(seq), through: number(through), punch })
    }

    /// All intact records anywhere in `bytes`, and where each begins.
    pub fn find(bytes: &'a [u8]) -> impl Iterator<Item = (usize, Self)> {
        let starts = bytes.windows(MAGIC.len()).enumerate().filter(|(_, window)| window == MAGIC);
        starts.filter_map(|(at, _)| Some((at, Self::decode(&bytes[at..])?)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_record_is_found_among_other_bytes_unless_a_bit_of_it_is_wrong(
            punch in proptest::collection::vec(any::<u8>(), 0..300),
            before in proptest::collection::vec(any::<u8>(), 0..50),
            numbers in any::<(u64, u64, u64)>(),
            bit in any::<prop::sample::Index>(),
        ) {
            let record = Record { epoch: numbers.0, seq: numbers.1, through: numbers.2, punch: &punch };
            let sealed = record.encode();
            prop_assert_eq!(sealed.len(), OVERHEAD + punch.len());
            let bytes = [before.as_slice(), &sealed, b"rest"].concat();
            prop_assert_eq!(Record::find(&bytes).collect::<Vec<_>>(), vec![(before.len(), record)]);
            let mut damaged = sealed.clone();
            let bit = bit.index(damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Record::find(&damaged).count(), 0);
        }
    }
}
