//! One question in Kafka's protocol: which brokers does this broker know? It costs milliseconds, where a Java tool
//! costs seconds of a core for each try.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

const TIMEOUT: Duration = Duration::from_secs(5);

/// `Metadata` version 4, the correlation id 1, no client id, an empty list of topics, none to be created.
const REQUEST: &[u8] = &[0, 0, 0, 15, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 0];

const LARGEST_ANSWER: usize = 1 << 20;

/// The ids of the brokers that the broker at `address`, a listener without authentication, lists as alive.
pub(super) fn brokers(address: SocketAddr) -> Result<Vec<i32>> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).context("connect")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(REQUEST).context("ask for the brokers")?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).context("read the answer")?;
    let length = usize::try_from(i32::from_be_bytes(length)).context("read the answer's length")?;
    ensure!(length <= LARGEST_ANSWER, "the answer has {length} bytes");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).context("read the answer")?;
    parse(&answer).context("the answer ends too early")
}

/// Correlation id, throttle time, then the brokers: id, host, port, rack.
fn parse(answer: &[u8]) -> Option<Vec<i32>> {
    let mut rest = answer.get(8..)?;
    let count = take_i32(&mut rest)?;
    (0..count)
        .map(|_| {
            let id = take_i32(&mut rest)?;
            skip_string(&mut rest)?;
            take_i32(&mut rest)?;
            skip_string(&mut rest)?;
            Some(id)
        })
        .collect()
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(i32::from_be_bytes(*bytes))
}

/// A length of -1 stands for none.
fn skip_string(rest: &mut &[u8]) -> Option<()> {
    let (bytes, after) = rest.split_first_chunk()?;
    *rest = after.get(usize::try_from(i16::from_be_bytes(*bytes)).unwrap_or(0)..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_length_it_says() {
        assert_eq!(usize::from(REQUEST[3]), REQUEST.len() - 4);
    }

    #[test]
    fn broker_ids_are_read_and_a_cut_answer_is_noticed() {
        let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
        answer.extend([0, 0, 0, 1, 0, 2, b'a', b'b', 0, 0, 0x4e, 0x7c, 0xff, 0xff]);
        answer.extend([0, 0, 0, 3, 0, 1, b'c', 0, 0, 0x4e, 0x7e, 0, 1, b'r']);
        assert_eq!(parse(&answer), Some(vec![1, 3]));
        assert_eq!(parse(&answer[..answer.len() - 1]), None);
        assert_eq!(parse(&answer[..6]), None);
    }
}
