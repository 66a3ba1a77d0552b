//! Encodes numbers as bytes, seals them with a checksum, and reads them back.
//!
//! [`Encoder`] writes varints (LEB128) behind eight bytes that name the kind; [`Encoder::sealed`] ends them with a CRC-32C of all of it.
//! [`Decoder::open`] checks kind and checksum first, so that nothing of a damaged object is believed.

use std::io;

use bytes::Bytes;

pub(crate) const KIND_BYTES: usize = 8;

pub(crate) struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    pub(crate) fn new(kind: &[u8; KIND_BYTES]) -> Self {
        Self { bytes: kind.to_vec() }
    }

    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    pub(crate) fn count(&mut self, value: usize) {
        self.number(value as u64);
    }

    pub(crate) fn unique(&mut self, value: u128) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn sealed(mut self) -> Bytes {
        let sum = crc32c::crc32c(&self.bytes);
        self.bytes.extend_from_slice(&sum.to_le_bytes());
        self.bytes.into()
    }
}

pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn open(kind: &[u8; KIND_BYTES], bytes: &'a [u8]) -> io::Result<Self> {
        let Some((body, sum)) = bytes.split_last_chunk::<4>() else {
            return Err(damaged("it is too short"));
        };
        if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
            return Err(damaged("its checksum does not fit"));
        }
        match body.split_first_chunk::<KIND_BYTES>() {
            Some((found, rest)) if found == kind => Ok(Self { rest }),
            _ => Err(damaged("it is of another kind or format")),
        }
    }

    pub(crate) fn number(&mut self) -> io::Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first().ok_or_else(|| damaged("it ends early"))?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(damaged("a number in it is too long"))
    }

    /// Returns a count of things that take a byte each at least, so that a wrong one asks for no absurd amount of memory.
    pub(crate) fn count(&mut self) -> io::Result<usize> {
        let count = self.number()?;
        if count > self.rest.len() as u64 {
            return Err(damaged("it counts more than it holds"));
        }
        Ok(count as usize)
    }

    pub(crate) fn unique(&mut self) -> io::Result<u128> {
        let (value, rest) = self.rest.split_first_chunk::<16>().ok_or_else(|| damaged("it ends early"))?;
        self.rest = rest;
        Ok(u128::from_le_bytes(*value))
    }

    pub(crate) fn end(self) -> io::Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(damaged("it is longer than what it holds")) }
    }
}

pub(crate) fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("an object of the file is damaged: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: &[u8; KIND_BYTES] = b"test  01";

    #[test]
    fn what_was_encoded_is_decoded() {
        let mut encoder = Encoder::new(KIND);
        let numbers = [0, 1, 127, 128, u64::from(u32::MAX), u64::MAX];
        numbers.iter().for_each(|&number| encoder.number(number));
        encoder.unique(u128::MAX - 7);
        let bytes = encoder.sealed();
        let mut decoder = Decoder::open(KIND, &bytes).unwrap();
        for number in numbers {
            assert_eq!(decoder.number().unwrap(), number);
        }
        assert_eq!(decoder.unique().unwrap(), u128::MAX - 7);
        decoder.end().unwrap();
    }

    #[test]
    fn one_flipped_bit_or_a_lost_end_is_found() {
        let mut encoder = Encoder::new(KIND);
        (0..20).for_each(|number| encoder.number(number * 1000));
        let bytes = encoder.sealed();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Decoder::open(KIND, &flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(Decoder::open(KIND, &bytes[..len]).is_err(), "{len} bytes");
        }
        assert!(Decoder::open(b"test  02", &bytes).is_err());
    }
}
