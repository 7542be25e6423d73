//! A dead letter, read back from its headers.

use chrono::{DateTime, SecondsFormat, Utc};
use contract::header;
use rdkafka::{Message, message::Headers};
use serde_json::{Map, Value, json};

/// Where a message was read that could not be stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
}

/// A dead letter. Key, value and all headers but those of the contract are those of the original message.
#[derive(Debug, Clone, PartialEq)]
pub struct Letter {
    /// Where it lies: topic, partition and offset.
    pub place: Origin,
    /// When it was written.
    pub written: Option<DateTime<Utc>>,
    /// Where its message was read.
    pub origin: Origin,
    /// Place of the guilty record in its message; `None` where the whole message is guilty.
    pub index: Option<i32>,
    /// Kafka timestamp of the message, RFC 3339.
    pub timestamp: Option<String>,
    /// Stage that gave it up.
    pub stage: String,
    /// Class of the error.
    pub class: String,
    /// The error.
    pub error: String,
    /// How often it was tried.
    pub attempt: String,
    /// Delivery id of the record.
    pub delivery_id: String,
    /// Delivery id of the first letter, where this one is of a message that was sent again.
    pub replay_of: Option<String>,
    /// Key of the message.
    pub key: Option<Vec<u8>>,
    /// Value of the message.
    pub value: Option<Vec<u8>>,
    /// The message's own headers.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Letter {
    /// Reads a message of a dead-letter topic; `None` where it does not say what it is.
    pub fn read(message: &impl Message) -> Option<Letter> {
        let mut known: Map<String, Value> = Map::new();
        let mut headers = Vec::new();
        for header in message.headers()?.iter() {
            if header::ALL.contains(&header.key) {
                let text = std::str::from_utf8(header.value?).ok()?;
                known.insert(header.key.to_owned(), text.into());
            } else {
                headers.push((header.key.to_owned(), header.value.map(<[u8]>::to_vec)));
            }
        }
        let text = |name: &str| Some(known.get(name)?.as_str()?.to_owned());
        Some(Letter {
            place: Origin {
                topic: message.topic().to_owned(),
                partition: message.partition(),
                offset: message.offset(),
            },
            written: message
                .timestamp()
                .to_millis()
                .and_then(DateTime::from_timestamp_millis),
            origin: Origin {
                topic: text(header::TOPIC)?,
                partition: text(header::PARTITION)?.parse().ok()?,
                offset: text(header::OFFSET)?.parse().ok()?,
            },
            index: match text(header::INDEX) {
                Some(index) => Some(index.parse().ok()?),
                None => None,
            },
            timestamp: text(header::TIMESTAMP),
            stage: text(header::STAGE)?,
            class: text(header::ERROR_CLASS)?,
            error: text(header::ERROR)?,
            attempt: text(header::ATTEMPT)?,
            delivery_id: text(header::DELIVERY_ID)?,
            replay_of: text(header::REPLAY_OF),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        })
    }

    /// The delivery id of the first letter of all that there are of this message: a message that was sent again, and
    /// was given up again, is still the same.
    pub fn root(&self) -> &str {
        self.replay_of.as_deref().unwrap_or(&self.delivery_id)
    }

    /// Heads of the columns of [`Self::line`].
    pub fn columns() -> String {
        line("WRITTEN", "LETTER", "MESSAGE", "INDEX", "CLASS", "ERROR")
    }

    /// One line for people, without the content.
    pub fn line(&self) -> String {
        let written = self.written.map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
        let index = self.index.map(|index| index.to_string());
        line(
            written.as_deref().unwrap_or("-"),
            &format!("{} {} {}", self.place.topic, self.place.partition, self.place.offset),
            &format!("{}/{}/{}", self.origin.topic, self.origin.partition, self.origin.offset),
            index.as_deref().unwrap_or("-"),
            &self.class,
            &self.error,
        )
    }

    /// One object for programs, without the content.
    pub fn json(&self) -> Value {
        let place =
            |place: &Origin| json!({"topic": place.topic, "partition": place.partition, "offset": place.offset});
        json!({
            "written": self.written.map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            "letter": place(&self.place),
            "message": place(&self.origin),
            "index": self.index,
            "timestamp": self.timestamp,
            "stage": self.stage,
            "class": self.class,
            "error": self.error,
            "attempt": self.attempt,
            "deliveryId": self.delivery_id,
            "replayOf": self.replay_of,
        })
    }

    /// All of it, with key, headers and value of the message: as text where they are, else in hexadecimal.
    pub fn whole(&self) -> String {
        let mut whole = self.json();
        whole["key"] = self.key.as_deref().map_or(Value::Null, shown);
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.clone(), value.as_deref().map_or(Value::Null, shown)));
        whole["headers"] = Value::Object(headers.collect());
        whole["value"] = match &self.value {
            None => Value::Null,
            Some(value) => serde_json::from_slice(value).unwrap_or_else(|_| shown(value)),
        };
        format!("{whole:#}")
    }
}

fn line(written: &str, letter: &str, message: &str, index: &str, class: &str, error: &str) -> String {
    format!("{written:<20}  {letter:<32}  {message:<32}  {index:>5}  {class:<10}  {error}")
}

fn shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
            format!("0x{}", digits.collect::<String>()).into()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage, Timestamp};

    fn message(headers: &[(&str, &str)]) -> OwnedMessage {
        let headers = headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(*value),
            })
        });
        OwnedMessage::new(
            Some(br#"{"v": 1}"#.to_vec()),
            Some(vec![0xff]),
            "events_log.dlq".to_owned(),
            Timestamp::CreateTime(1_700_000_000_123),
            0,
            7,
            Some(headers),
        )
    }

    const HEADERS: &[(&str, &str)] = &[
        ("trace", "t"),
        (header::TOPIC, "events_log"),
        (header::PARTITION, "3"),
        (header::OFFSET, "42"),
        (header::INDEX, "5"),
        (header::STAGE, "consumer"),
        (header::ERROR_CLASS, "validation"),
        (header::ERROR, "name: is missing"),
        (header::ATTEMPT, "1"),
        (header::DELIVERY_ID, "c/t/3/42/5"),
    ];

    pub(crate) fn letter() -> Letter {
        Letter::read(&message(HEADERS)).unwrap()
    }

    #[test]
    fn a_letter_is_read_back_with_the_messages_own_headers_apart() {
        let letter = letter();
        assert_eq!(letter.headers, [("trace".to_owned(), Some(b"t".to_vec()))]);
        assert_eq!(letter.index, Some(5));
        assert_eq!(letter.root(), "c/t/3/42/5");
        assert_eq!(
            letter.line(),
            "2023-11-14T22:13:20Z  events_log.dlq 0 7                events_log/3/42                       5  validation  \
             name: is missing"
        );
    }

    #[test]
    fn a_list_has_no_content_and_the_whole_has_all_of_it() {
        let letter = letter();
        assert_eq!(letter.json().get("value"), None);
        let whole: Value = serde_json::from_str(&letter.whole()).unwrap();
        assert_eq!(whole["value"], json!({"v": 1}));
        assert_eq!(whole["key"], "0xff");
        assert_eq!(whole["headers"], json!({"trace": "t"}));
        assert_eq!(
            whole["message"],
            json!({"topic": "events_log", "partition": 3, "offset": 42})
        );
    }

    #[test]
    fn what_does_not_say_what_it_is_is_no_letter() {
        let needed = HEADERS
            .iter()
            .filter(|(name, _)| name.starts_with("syncpipeline-") && *name != header::INDEX);
        for (missing, _) in needed {
            let rest = HEADERS.iter().filter(|(name, _)| name != missing);
            let rest: Vec<_> = rest.copied().collect();
            assert_eq!(Letter::read(&message(&rest)), None, "without {missing}");
        }
        assert_eq!(Letter::read(&message(&[])), None);
    }

    #[test]
    fn a_message_that_was_sent_again_is_still_the_same() {
        let mut headers = HEADERS.to_vec();
        headers.push((header::REPLAY_OF, "c/t/3/40/5"));
        assert_eq!(Letter::read(&message(&headers)).unwrap().root(), "c/t/3/40/5");
    }
}
