//! How many values a record may hold. A tree of values takes up to a hundred times the memory of its text, and a record
//! that is unusual, or has no id of its own, becomes one.

use crate::FieldError;

/// Most values in a record: each field and item counts, the nested ones too, and so does the record itself.
pub const MAX_VALUES: usize = 10_000;

/// Refuses a record with more than [`MAX_VALUES`], by its text, which is JSON.
pub(crate) fn check(text: &str) -> Result<(), FieldError> {
    // Each takes two bytes: its own, and what parts it from the next one.
    if text.len() <= 2 * MAX_VALUES || count(text) <= MAX_VALUES {
        return Ok(());
    }
    Err(FieldError {
        field: String::new(),
        problem: format!("has more than {MAX_VALUES} values, nested ones included"),
    })
}

/// The first value of the text, one after each comma, and the first one of each array and object that is not empty.
fn count(text: &str) -> usize {
    let mut bytes = text.bytes();
    let mut values = 1;
    // The last byte was a bracket, with nothing after it but space.
    let mut opened = false;
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\n' | b'\r' | b'\t' => continue,
            b']' | b'}' => opened = false,
            _ => values += usize::from(std::mem::take(&mut opened)),
        }
        match byte {
            b',' => values += 1,
            b'[' | b'{' => opened = true,
            b'"' => pass_string(&mut bytes),
            _ => {}
        }
    }
    values
}

/// Passes the rest of a string, whose quote was passed.
fn pass_string(bytes: &mut impl Iterator<Item = u8>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn of_tree(value: &Value) -> usize {
        match value {
            Value::Array(items) => 1 + items.iter().map(of_tree).sum::<usize>(),
            Value::Object(fields) => 1 + fields.values().map(of_tree).sum::<usize>(),
            _ => 1,
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<f64>().prop_map(Value::from),
            "[a\"\\\\,{}\\[\\]é]{0,6}".prop_map(Value::from)
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                proptest::collection::btree_map("[a-c\"\\\\,{\\[]{0,3}", inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn as_many_are_counted_as_the_tree_has(value in value()) {
            prop_assert_eq!(count(&value.to_string()), of_tree(&value));
            prop_assert_eq!(count(&serde_json::to_string_pretty(&value).unwrap()), of_tree(&value));
        }
    }

    #[test]
    fn the_bound_is_told() {
        let items = |count: usize| format!("[{}]", vec!["1"; count].join(","));
        assert_eq!(check(&items(MAX_VALUES - 1)), Ok(()));
        let error = check(&items(MAX_VALUES)).unwrap_err();
        assert_eq!(error.to_string(), ": has more than 10000 values, nested ones included");
        assert_eq!(check(&" ".repeat(MAX_VALUES * 3)), Ok(()));
    }
}
