//! Who uploads: an invented person for every number, the same for the same seed.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// A country with the looks of its numbers, names and money. Banks and wallets are invented.
#[derive(Debug, PartialEq)]
pub struct Country {
    /// English name.
    pub name: &'static str,
    /// Calling code.
    pub calling_code: &'static str,
    /// How the country's banks write money.
    pub currency: &'static str,
    /// A usual amount to pay, whole units of the currency.
    pub usual_amount: u64,
    /// Alphanumeric senders of banks.
    pub banks: &'static [&'static str],
    /// Alphanumeric senders of mobile wallets.
    pub wallets: &'static [&'static str],
    /// Given names.
    pub given: &'static [&'static str],
    /// Family names.
    pub family: &'static [&'static str],
    /// Shops and services.
    pub merchants: &'static [&'static str],
}

/// The countries that traffic comes from.
pub const COUNTRIES: &[Country] = &[
    Country {
        name: "India",
        calling_code: "+91",
        currency: "Rs.",
        usual_amount: 850,
        banks: &["VM-SAGRBK", "AD-NILGBK", "JD-GANGBK"],
        wallets: &["VK-JHATPY", "AX-TURNTP"],
        given: &["Asha", "Rohan", "Priya", "Arjun", "Meera", "विजय"],
        family: &["Iyer", "Sharma", "Das", "Patel", "Reddy"],
        merchants: &["CHAI ADDA", "METRO RECHARGE", "SABZI MANDI", "RAILYATRI DESK"],
    },
    Country {
        name: "Kenya",
        calling_code: "+254",
        currency: "Ksh",
        usual_amount: 1_200,
        banks: &["SAVANNABK", "TWIGABANK"],
        wallets: &["PESALINKA", "SIMUPESA"],
        given: &["Wanjiru", "Otieno", "Amina", "Kamau", "Achieng"],
        family: &["Mwangi", "Odhiambo", "Njoroge", "Hassan"],
        merchants: &["DUKA LA MAMA", "MATATU 44", "STIMA TOKENS", "SOKO FRESH"],
    },
    Country {
        name: "Philippines",
        calling_code: "+63",
        currency: "PHP ",
        usual_amount: 640,
        banks: &["MAYONBANK", "BAYANBANK"],
        wallets: &["TINGIPAY", "LOADNA"],
        given: &["Jose", "Maria", "Liza", "Paolo", "Niño"],
        family: &["Santos", "Reyes", "Cruz", "Dela Peña"],
        merchants: &["SARI-SARI NI ALING NENA", "JEEP LOAD", "ILAW KURYENTE"],
    },
    Country {
        name: "Vietnam",
        calling_code: "+84",
        currency: "VND ",
        usual_amount: 185_000,
        banks: &["SENBANK", "TREVIETBK"],
        wallets: &["VIXANH", "TIENNHANH"],
        given: &["Anh", "Minh", "Thảo", "Dũng", "Hương"],
        family: &["Nguyễn", "Trần", "Lê", "Phạm"],
        merchants: &["PHO HA NOI", "XE OM 24", "DIEN LUC", "CHO BEN SONG"],
    },
    Country {
        name: "Nigeria",
        calling_code: "+234",
        currency: "NGN",
        usual_amount: 7_500,
        banks: &["ZUMABANK", "BENUEBANK"],
        wallets: &["SHARPAY", "NAIRAGO"],
        given: &["Chidi", "Ngozi", "Bola", "Emeka", "Zainab"],
        family: &["Okafor", "Adeyemi", "Bello", "Eze"],
        merchants: &["MAMA PUT", "PHCN TOKEN", "OKADA RIDE", "IKEJA STORES"],
    },
    Country {
        name: "Indonesia",
        calling_code: "+62",
        currency: "Rp",
        usual_amount: 95_000,
        banks: &["BANKRINJANI", "BANKTOBA"],
        wallets: &["DOMPETKU", "BAYARCPT"],
        given: &["Budi", "Siti", "Dewi", "Agus", "Putri"],
        family: &["Santoso", "Wijaya", "Siregar", "Lestari"],
        merchants: &["WARUNG SEDAP", "OJEK HARIAN", "TOKEN LISTRIK", "PASAR BARU"],
    },
];

/// How many people a seed knows.
pub const POPULATION: u64 = 20_000;

/// Somebody with a phone.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// User name at the producer.
    pub user: String,
    /// Their device.
    pub device: String,
    /// Where they live.
    pub country: &'static Country,
    /// Last digits of their bank account.
    pub account: u32,
}

impl Person {
    /// The person with this number.
    pub fn of(seed: u64, number: u64) -> Person {
        let mut rng = stream(seed, Stream::Person, number);
        Person {
            user: format!("user-{number:06}"),
            device: format!("{:016x}", rng.random::<u64>()),
            country: pick(&mut rng, COUNTRIES).unwrap_or(&COUNTRIES[0]),
            account: rng.random_range(1_000..10_000),
        }
    }
}

/// Independent random streams of one seed.
#[derive(Debug, Clone, Copy)]
pub enum Stream {
    /// Facts about a person.
    Person,
    /// Content of an upload.
    Upload,
}

/// The random numbers of the `number`-th thing of a stream: needs no earlier one to have been made, so that
/// uploads may be made in any order.
pub fn stream(seed: u64, stream: Stream, number: u64) -> StdRng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_be_bytes());
    key[8] = stream as u8;
    key[16..24].copy_from_slice(&number.to_be_bytes());
    StdRng::from_seed(key)
}

/// One of `choices`; none only where there is none.
pub fn pick<'a, T>(rng: &mut StdRng, choices: &'a [T]) -> Option<&'a T> {
    choices.choose(rng)
}

/// One of some words.
pub fn word(rng: &mut StdRng, choices: &[&'static str]) -> &'static str {
    pick(rng, choices).copied().unwrap_or_default()
}

/// A phone number of the country.
pub fn phone(rng: &mut StdRng, country: &Country) -> String {
    format!(
        "{}{}",
        country.calling_code,
        rng.random_range(700_000_000_u64..1_000_000_000)
    )
}

/// A full name usual in the country.
pub fn full_name(rng: &mut StdRng, country: &Country) -> String {
    format!("{} {}", word(rng, country.given), word(rng, country.family))
}
