//! The cluster's address ranges, chosen so that nothing the machine already reaches is hidden.

use std::fmt;
use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// Second octets of 10.0.0.0/8 at which the three ranges may begin.
const CANDIDATES: [u8; 4] = [212, 220, 228, 236];

/// The addresses of one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Addresses {
    /// The node's address, the same from the host and from pods; data services listen on it, too.
    pub(crate) node: Ipv4Addr,
    /// Where pods get theirs.
    pub(crate) pods: Range,
    /// Where Services get theirs.
    pub(crate) services: Range,
}

/// A range of addresses: CIDR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Range {
    first: Ipv4Addr,
    prefix: u8,
}

impl Addresses {
    /// The first candidate that overlaps no route of this machine.
    pub(crate) fn choose() -> Result<Self> {
        Self::outside(&machine_routes()?)
    }

    fn outside(taken: &[Range]) -> Result<Self> {
        CANDIDATES
            .into_iter()
            .map(Self::beginning_at)
            .find(|candidate| candidate.is_outside(taken))
            .with_context(|| {
                let octets = CANDIDATES
                    .map(|octet| format!("10.{octet}-{}.0.0/16", octet + 2))
                    .join(", ");
                format!("this machine has routes into each of {octets}; free one of them for the embedded cluster")
            })
    }

    fn beginning_at(octet: u8) -> Self {
        let wide = |octet| Range {
            first: Ipv4Addr::new(10, octet, 0, 0),
            prefix: 16,
        };
        Self {
            node: Ipv4Addr::new(10, octet, 0, 1),
            pods: wide(octet + 1),
            services: wide(octet + 2),
        }
    }

    fn is_outside(&self, taken: &[Range]) -> bool {
        let node = Range {
            first: self.node,
            prefix: 32,
        };
        taken
            .iter()
            .all(|range| [node, self.pods, self.services].iter().all(|own| !own.overlaps(range)))
    }

    /// The address of the Service `kubernetes`, which the API server gives the first of the range.
    pub(crate) fn api_service(&self) -> Ipv4Addr {
        self.services.nth(1)
    }

    /// The address of the Service `kube-dns`, in every pod's `resolv.conf`.
    pub(crate) fn dns_service(&self) -> Ipv4Addr {
        self.services.nth(10)
    }
}

impl Range {
    fn nth(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.first.to_bits() + offset)
    }

    fn overlaps(&self, other: &Self) -> bool {
        let shorter = u32::from(self.prefix.min(other.prefix));
        let network = |range: &Self| range.first.to_bits().checked_shr(32 - shorter).unwrap_or(0);
        network(self) == network(other)
    }

    /// A destination as `ip route` prints it: `10.0.0.0/8` or one address.
    fn parse(text: &str) -> Option<Self> {
        let (first, prefix) = text.split_once('/').unwrap_or((text, "32"));
        Some(Self {
            first: first.parse().ok()?,
            prefix: prefix.parse().ok().filter(|prefix| *prefix <= 32)?,
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.first, self.prefix)
    }
}

fn machine_routes() -> Result<Vec<Range>> {
    #[derive(Deserialize)]
    struct Route {
        dst: String,
    }
    let output = Command::new("ip")
        .args(["-4", "-json", "route", "show", "table", "all"])
        .output()
        .context("run ip to list routes")?;
    if !output.status.success() {
        bail!(
            "ip cannot list routes: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let routes: Vec<Route> = serde_json::from_slice(&output.stdout).context("read the routes that ip lists")?;
    // The default route, of prefix 0, is where everything else goes: it takes no address.
    Ok(routes
        .iter()
        .filter_map(|route| Range::parse(&route.dst))
        .filter(|range| range.prefix > 0)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(ranges: &[&str]) -> Vec<Range> {
        ranges.iter().map(|range| Range::parse(range).unwrap()).collect()
    }

    #[test]
    fn the_first_candidate_is_taken_where_it_is_free() {
        let addresses = Addresses::outside(&taken(&["192.168.0.0/16", "10.0.0.0/16", "172.17.0.1"])).unwrap();
        assert_eq!(addresses.node, Ipv4Addr::new(10, 212, 0, 1));
        assert_eq!(
            (addresses.pods.to_string(), addresses.services.to_string()),
            ("10.213.0.0/16".into(), "10.214.0.0/16".into())
        );
        assert_eq!(addresses.api_service(), Ipv4Addr::new(10, 214, 0, 1));
        assert_eq!(addresses.dns_service(), Ipv4Addr::new(10, 214, 0, 10));
    }

    #[test]
    fn a_route_into_any_of_the_ranges_moves_all_three() {
        for route in ["10.212.0.0/24", "10.213.7.9", "10.214.128.0/17", "10.208.0.0/12"] {
            let addresses = Addresses::outside(&taken(&[route])).unwrap();
            assert_ne!(addresses.node, Ipv4Addr::new(10, 212, 0, 1), "{route}");
        }
        assert_eq!(
            Addresses::outside(&taken(&["10.213.7.9"])).unwrap().node,
            Ipv4Addr::new(10, 220, 0, 1)
        );
    }

    #[test]
    fn a_machine_without_room_is_told_so() {
        let error = Addresses::outside(&taken(&["10.0.0.0/8"])).unwrap_err().to_string();
        assert!(
            error.contains("10.212-214.0.0/16") && error.contains("free one of them"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_address_is_not_parsed() {
        for text in ["default", "10.0.0.0/33", "fe80::/64", ""] {
            assert_eq!(Range::parse(text), None, "{text}");
        }
    }
}
