//! What an error of PostgreSQL means, by its SQLSTATE.

use crate::sink::Fault;
use sqlx::postgres::PgDatabaseError;

/// What to do about the error.
pub fn of(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(error) => error.code().map_or(Fault::Setup, |code| of_state(&code)),
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Protocol(_)
        | sqlx::Error::BeginFailed => Fault::Passing,
        // A value that the driver cannot encode is the record's fault, not the store's.
        sqlx::Error::Encode(_) => Fault::Data,
        _ => Fault::Setup,
    }
}

/// The SQLSTATE of a row that is against a `CHECK` constraint.
pub const BROKEN_RULE: &str = "23514";

/// Whether a row is against a rule that somebody gave the table.
pub fn is_broken_rule(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some(BROKEN_RULE))
}

/// Whether a row is there already that may be there once only.
pub fn is_unique_violation(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.is_unique_violation())
}

/// Whether somebody else held a lock for longer than was to be waited.
pub fn is_lock_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}

/// The row of a COPY at which it failed, by its place, where the server says so.
pub fn copied(error: &sqlx::Error) -> Option<usize> {
    let sqlx::Error::Database(error) = error else {
        return None;
    };
    place(error.try_downcast_ref::<PgDatabaseError>()?.r#where()?)
}

/// From `COPY sms, line 7, column user_id`, in whatever language it is said, if the number comes after the name.
fn place(context: &str) -> Option<usize> {
    let (_, rest) = context.strip_prefix("COPY ")?.split_once(", ")?;
    let digits = rest.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let end = digits.find(|letter: char| !letter.is_ascii_digit());
    let line: usize = digits[..end.unwrap_or(digits.len())].parse().ok()?;
    line.checked_sub(1)
}

/// What to do about an error with this SQLSTATE.
pub fn of_state(state: &str) -> Fault {
    match state {
        // Not a lock timeout: the object is in a state that somebody has to change.
        "55000" | "55006" => Fault::Setup,
        _ => match state.get(..2).unwrap_or_default() {
            // Connection, rollback (deadlock, serialisation), resources, lock, operator intervention, system, internal.
            "08" | "40" | "53" | "55" | "57" | "58" | "XX" => Fault::Passing,
            // The transaction was lost to an earlier error, or by a timeout.
            "25" => Fault::Passing,
            // Data, constraint, a value beyond a limit of the server.
            "22" | "23" | "54" => Fault::Data,
            _ => Fault::Setup,
        },
    }
}

/// The error in words, without a row's content: PostgreSQL's detail and context quote it, its message may.
pub fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            let state = error.code().unwrap_or_default().into_owned();
            match of_state(&state) {
                Fault::Data => refusal(&state),
                Fault::Setup => format!("SQLSTATE {state}: {}; {}", error.message(), advice(&state)),
                Fault::Passing => format!("SQLSTATE {state}: {}", error.message()),
            }
        }
        other => other.to_string(),
    }
}

/// Why a row is refused, in words.
pub fn refusal(state: &str) -> String {
    format!("SQLSTATE {state}: {}", data_class(state))
}

fn data_class(state: &str) -> &'static str {
    match state {
        "22021" => "text that is not valid in the database's encoding, such as U+0000",
        "22P05" => "a character that PostgreSQL cannot store in jsonb, such as U+0000",
        "22003" => "a number out of range",
        "22008" => "a time out of range",
        _ if state.starts_with("23") => "a constraint of the table is violated",
        _ if state.starts_with("54") => "the record is beyond a limit of the server",
        _ => "a value that PostgreSQL cannot store",
    }
}

fn advice(state: &str) -> &'static str {
    match state.get(..2).unwrap_or_default() {
        "28" => "check the user name and password in the Secret",
        "3D" => "create the database, or correct postgres.syncDatabase",
        "42" if state == "42501" => "grant the user CREATE and USAGE on the schema, and rights on its tables",
        "42" => "the tables are not those of this release; was the schema changed by hand?",
        _ => "see the server's log",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_classed() {
        let cases: &[(Fault, &[&str])] = &[
            (
                Fault::Passing,
                &[
                    "08006", "08P01", "40001", "40P01", "53300", "53100", "55P03", "57P01", "57P03", "57014", "25P03",
                    "XX000",
                ],
            ),
            (Fault::Data, &["22021", "22P05", "22003", "23514", "23505", "54000"]),
            (
                Fault::Setup,
                &["42P01", "42501", "3D000", "28P01", "28000", "0A000", "55000", ""],
            ),
        ];
        for (fault, states) in cases {
            for state in *states {
                assert_eq!(of_state(state), *fault, "{state}");
            }
        }
    }

    #[test]
    fn the_server_tells_the_row_of_a_copy() {
        assert_eq!(place("COPY sms, line 1, column user_id"), Some(0));
        assert_eq!(place("COPY sms, line 12"), Some(11));
        assert_eq!(place("COPY sms, Zeile 5001, Spalte user_id"), Some(5_000));
        for other in [
            "",
            "COPY sms",
            "COPY sms, line 0",
            "COPY sms, line",
            "SQL statement \"x\", line 3",
        ] {
            assert_eq!(place(other), None, "{other}");
        }
    }

    #[test]
    fn connection_errors_pass() {
        for error in [
            sqlx::Error::PoolTimedOut,
            sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into()),
            sqlx::Error::Protocol("unexpected end".into()),
        ] {
            assert_eq!(of(&error), Fault::Passing, "{error}");
        }
    }
}
