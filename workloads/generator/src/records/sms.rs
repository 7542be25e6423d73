//! Text messages: mostly banks and wallets, some one-time codes, advertisements and friends.

use crate::people::{Country, Person, full_name, phone, word};
use rand::{RngExt, rngs::StdRng};
use serde_json::{Value, json};

struct Style {
    country: &'static str,
    bank: &'static [&'static str],
    wallet: &'static [&'static str],
    chat: &'static [&'static str],
}

const STYLES: &[Style] = &[
    Style {
        country: "India",
        bank: &[
            "{money} debited from A/c XX{account} on {date} to {merchant}. UPI Ref {reference}. Avl Bal {balance}. Not you? Call the branch.",
            "Dear Customer, A/c XX{account} is credited with {money} on {date} by {name}. Ref {reference}. Avl Bal {balance}",
            "EMI of {money} for loan a/c XX{account} is due on {date}. Please keep sufficient balance.",
            "आपके खाते XX{account} से {money} की निकासी {date} को हुई। शेष {balance}",
        ],
        wallet: &[
            "Paid {money} to {merchant}. Txn ID {reference}. Wallet balance {balance}.",
            "{name} sent you {money}. Txn ID {reference}.",
        ],
        chat: &[
            "Kab aa rahe ho?",
            "Train late hai, 9 baje tak pahunchunga",
            "ok call karta hu",
        ],
    },
    Style {
        country: "Kenya",
        bank: &[
            "Dear {name}, your account ****{account} has been debited {money} on {date}. Available balance {balance}. Ref {reference}.",
            "Salary of {money} has been credited to account ****{account}. Balance {balance}.",
        ],
        wallet: &[
            "{reference} Confirmed. {money} sent to {name} on {date}. New wallet balance is {balance}. Transaction cost, Ksh13.00.",
            "{reference} Confirmed. You have received {money} from {name} on {date}. New wallet balance is {balance}.",
            "{reference} Confirmed. {money} paid to {merchant}. New wallet balance is {balance}.",
        ],
        chat: &["Niko njiani", "Umefika?", "Nitumie number ya fundi"],
    },
    Style {
        country: "Philippines",
        bank: &[
            "Your acct ending {account} was charged {money} at {merchant} on {date}. Avail bal {balance}. Ref no. {reference}",
            "You have received {money} in acct ending {account}. Ref no. {reference}.",
        ],
        wallet: &[
            "You have sent {money} to {name}. Your new balance is {balance}. Ref. No. {reference}.",
            "You have received {money} from {name}. Your new balance is {balance}. Ref. No. {reference}.",
            "Your load of {money} was successful. Ref. No. {reference}.",
        ],
        chat: &["San ka na?", "Pauwi na ako", "sige kita tayo mamaya 😊"],
    },
    Style {
        country: "Vietnam",
        bank: &[
            "TK xxx{account} -{money} luc {date}. SD: {balance}. ND: {merchant} GD {reference}",
            "TK xxx{account} +{money} luc {date}. SD: {balance}. ND: {name} chuyen tien",
        ],
        wallet: &[
            "Ban vua thanh toan {money} cho {merchant}. Ma GD {reference}. So du vi {balance}.",
            "Bạn vừa nhận {money} từ {name}. Mã GD {reference}.",
        ],
        chat: &["Về chưa?", "Mai đi cafe nhé", "ok em"],
    },
    Style {
        country: "Nigeria",
        bank: &[
            "Acct:***{account} Amt:{money} DR Desc:POS {merchant} Date:{date} Bal:{balance} Ref:{reference}",
            "Acct:***{account} Amt:{money} CR Desc:TRF FRM {name} Date:{date} Bal:{balance}",
        ],
        wallet: &[
            "You don send {money} give {name}. Balance: {balance}. Ref: {reference}",
            "{money} received from {name}. Balance: {balance}. Ref: {reference}",
        ],
        chat: &["How far?", "I dey come", "Abeg send account number"],
    },
    Style {
        country: "Indonesia",
        bank: &[
            "Trx rek {account} debet {money} {date} {merchant}. Saldo {balance}. Ref {reference}",
            "Transfer masuk {money} dari {name} ke rek {account} tgl {date}. Saldo {balance}.",
        ],
        wallet: &[
            "Pembayaran {money} ke {merchant} berhasil. Saldo {balance}. No. {reference}",
            "Kamu menerima {money} dari {name}. Saldo {balance}.",
        ],
        chat: &["Lagi di mana?", "Otw ya", "Nanti malam jadi makan?"],
    },
];

const CODES: &[&str] = &[
    "{code} is your one-time password. It is valid for 10 minutes. Do not share it with anyone.",
    "Use {code} to verify your number.",
];

const ADVERTISEMENTS: &[&str] = &[
    "Weekend offer! Recharge for {money} and get double data till {date}.",
    "Need cash? Pre-approved loan up to {balance}. Reply YES. T&C apply.",
];

pub(super) fn message(person: &Person, rng: &mut StdRng) -> Value {
    let country = person.country;
    let style = STYLES
        .iter()
        .find(|style| style.country == country.name)
        .unwrap_or(&STYLES[0]);
    let (sender, template) = match rng.random_range(0..100) {
        0..45 => (word(rng, country.banks).to_owned(), word(rng, style.bank)),
        45..75 => (word(rng, country.wallets).to_owned(), word(rng, style.wallet)),
        75..85 => (word(rng, country.wallets).to_owned(), word(rng, CODES)),
        85..90 => (rng.random_range(50_000..60_000).to_string(), word(rng, ADVERTISEMENTS)),
        _ => (phone(rng, country), word(rng, style.chat)),
    };
    json!({
        "sender": sender,
        "body": fill(template, person, rng),
        "read": rng.random_bool(0.8),
        "folder": "inbox",
    })
}

fn fill(template: &str, person: &Person, rng: &mut StdRng) -> String {
    let country = person.country;
    let mut text = String::with_capacity(template.len() + 48);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let Some((field, after)) = after.split_once('}') else {
            break;
        };
        match field {
            "money" => text.push_str(&money(country, rng.random_range(1..=country.usual_amount * 4), rng)),
            "balance" => text.push_str(&money(country, rng.random_range(0..=country.usual_amount * 60), rng)),
            "account" => text.push_str(&person.account.to_string()),
            "merchant" => text.push_str(word(rng, country.merchants)),
            "name" => text.push_str(&full_name(rng, country)),
            "reference" => text.push_str(&reference(rng)),
            "code" => text.push_str(&rng.random_range(100_000..1_000_000).to_string()),
            _ => text.push_str(&format!(
                "{:02}/{:02}/26",
                rng.random_range(1..29),
                rng.random_range(1..13)
            )),
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

fn money(country: &Country, amount: u64, rng: &mut StdRng) -> String {
    let digits = amount.to_string();
    let mut grouped = String::with_capacity(digits.len() + 8);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{}{grouped}.{:02}", country.currency, rng.random_range(0..100))
}

fn reference(rng: &mut StdRng) -> String {
    const SIGNS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZ0123456789";
    (0..10)
        .map(|_| char::from(SIGNS[rng.random_range(0..SIGNS.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::COUNTRIES;
    use rand::SeedableRng;

    #[test]
    fn every_country_has_its_style_and_no_place_stays_unfilled() {
        let mut rng = StdRng::seed_from_u64(1);
        for country in COUNTRIES {
            let style = STYLES.iter().find(|style| style.country == country.name);
            let style = style.unwrap_or_else(|| panic!("{} has no style", country.name));
            let person = Person {
                user: "u".into(),
                device: "d".into(),
                country,
                account: 1234,
            };
            for template in [style.bank, style.wallet, style.chat, CODES, ADVERTISEMENTS].concat() {
                let text = fill(template, &person, &mut rng);
                assert!(!text.contains(['{', '}']), "{text}");
            }
        }
    }

    #[test]
    fn money_is_grouped_by_thousands() {
        let mut rng = StdRng::seed_from_u64(1);
        let written = money(&COUNTRIES[3], 1_234_567, &mut rng);
        assert!(written.starts_with("VND 1,234,567."), "{written}");
    }
}
