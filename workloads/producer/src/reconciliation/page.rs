//! The account as a page: plain HTML, with nothing that has to be loaded.

use super::report::{Hour, Messages, PartitionAccount, Reconciliation, Records, SourceAccount};
use std::fmt::{self, Display, Write};

const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width\">\n<title>Reconciliation</title>\n<style>\n\
    body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; }\n\
    table { border-collapse: collapse; margin: .5em 0 1.5em; }\n\
    th, td { padding: .2em .7em; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }\n\
    th:first-child, td:first-child { text-align: left; }\n\
    tr.all { font-weight: bold; background: #f4f4f4; }\n\
    .wrong { color: #fff; background: #c00; font-weight: bold; }\n\
    small { color: #666; font-weight: normal; }\n\
    </style>\n</head>\n<body>\n<h1>Reconciliation</h1>\n";

const OUTCOMES: &str = "<th>accepted</th><th>= settled</th><th>+ expired</th><th>+ absent</th><th>+ in flight</th>\
    <th>difference</th>";
const OF_HOUR: &str = "<th>messages</th><th>expired</th><th>absent</th>";
const OF_RECORDS: &str = "<th>records</th><th>= stored</th><th>+ deduplicated</th><th>+ dead-lettered</th>\
    <th>+ erased</th><th>difference</th>";

/// The page.
pub fn render(report: &Reconciliation) -> String {
    let mut page = String::with_capacity(32 * 1024);
    // Writing into memory cannot fail.
    let _ = write(&mut page, report);
    page
}

fn write(page: &mut String, report: &Reconciliation) -> fmt::Result {
    page.push_str(HEAD);
    let verdict = match (report.balanced, report.complete) {
        (false, _) => "<span class=\"wrong\">Something is missing, or counted twice: see the differences</span>",
        (true, false) => "What can be told is accounted for; Kafka does not tell the ends of all partitions",
        (true, true) => "Everything is accounted for",
    };
    writeln!(
        page,
        "<p>{verdict}. Read at {}.</p>",
        report.at.format("%Y-%m-%d %H:%M:%S UTC")
    )?;
    report
        .sources
        .iter()
        .try_for_each(|source| of_source(page, source, report.hours))?;
    page.push_str("</body>\n</html>\n");
    Ok(())
}

fn of_source(page: &mut String, source: &SourceAccount, hours: u32) -> fmt::Result {
    let group = match &source.group {
        Some(group) => format!("read by {}", Escaped(group)),
        None => "read by nobody yet".to_owned(),
    };
    writeln!(
        page,
        "<h2>{} <small>{}, {group}</small></h2>",
        Escaped(source.source),
        Escaped(&source.topic)
    )?;
    if !source.other_groups.is_empty() {
        let names = source.other_groups.join(", ");
        writeln!(page, "<p>Other groups that have read it: {}</p>", Escaped(&names))?;
    }
    writeln!(page, "<table>\n<tr><th>partition</th>{OUTCOMES}{OF_RECORDS}</tr>")?;
    write!(page, "<tr class=\"all\"><td>all</td>")?;
    messages(page, &source.messages)?;
    records(page, &source.records)?;
    page.push_str("</tr>\n");
    for PartitionAccount {
        partition,
        messages: of_messages,
        records: of_records,
        ..
    } in &source.partitions
    {
        write!(page, "<tr><td>{partition}</td>")?;
        messages(page, of_messages)?;
        records(page, of_records)?;
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
    if source.by_hour.is_empty() {
        return writeln!(
            page,
            "<p>Nothing that was taken in the last {hours} hours has been read.</p>"
        );
    }
    writeln!(
        page,
        "<table>\n<tr><th>hour in which it was taken (UTC)</th>{OF_HOUR}{OF_RECORDS}</tr>"
    )?;
    for Hour {
        hour,
        messages,
        expired,
        absent,
        records: of_records,
    } in &source.by_hour
    {
        write!(page, "<tr><td>{}</td>", hour.format("%Y-%m-%d %H:%M"))?;
        write!(page, "<td>{messages}</td><td>{expired}</td><td>{absent}</td>")?;
        records(page, of_records)?;
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
    Ok(())
}

fn messages(page: &mut String, messages: &Messages) -> fmt::Result {
    let Messages {
        accepted,
        settled,
        expired,
        absent,
        in_flight,
        difference,
    } = messages;
    let known = |number: &Option<i64>| number.map_or("?".to_owned(), |number| number.to_string());
    write!(
        page,
        "<td>{}</td><td>{settled}</td><td>{expired}</td><td>{absent}</td><td>{}</td>",
        known(accepted),
        known(in_flight)
    )?;
    cell(page, *difference)
}

fn records(page: &mut String, records: &Records) -> fmt::Result {
    let Records {
        records,
        stored,
        deduplicated,
        dead_lettered,
        erased,
        difference,
    } = records;
    write!(
        page,
        "<td>{records}</td><td>{stored}</td><td>{deduplicated}</td><td>{dead_lettered}</td><td>{erased}</td>"
    )?;
    cell(page, *difference)
}

fn cell(page: &mut String, difference: i64) -> fmt::Result {
    match difference {
        0 => write!(page, "<td>0</td>"),
        other => write!(page, "<td class=\"wrong\">{other}</td>"),
    }
}

/// Text as HTML shows it, whatever it contains.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => f.write_char(other)?,
            }
        }
        Ok(())
    }
}
