//! The region of a broker, from its name.

/// Labels that stand before the region in the names of MSK's brokers.
const SERVICES: [&str; 2] = ["kafka", "kafka-serverless"];

/// The AWS region in an MSK broker's `host:port`; nothing where the name is another.
///
/// The names are `….kafka.REGION.amazonaws.com`, `….kafka-serverless.REGION.amazonaws.com`, and the same under
/// `amazonaws.com.cn`.
pub fn of_server(server: &str) -> Option<&str> {
    let host = server.rsplit_once(':').map_or(server, |(host, _)| host);
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = host
        .strip_suffix(".cn")
        .unwrap_or(host)
        .strip_suffix(".amazonaws.com")?;
    let (before, region) = host.rsplit_once('.')?;
    let (_, service) = before.rsplit_once('.')?;
    (SERVICES.contains(&service) && !region.is_empty()).then_some(region)
}

#[cfg(test)]
mod tests {
    use super::of_server;

    #[test]
    fn the_name_of_an_msk_broker_tells_its_region() {
        for (server, region) in [
            ("b-1.x.abcdef.c2.kafka.eu-central-1.amazonaws.com:9098", "eu-central-1"),
            ("b-1-public.x.abcdef.c2.kafka.us-east-1.amazonaws.com:9198", "us-east-1"),
            (
                "boot-abc.c1.kafka-serverless.ap-south-1.amazonaws.com:9098",
                "ap-south-1",
            ),
            ("b-1.x.abcdef.c2.kafka.cn-north-1.amazonaws.com.cn:9098", "cn-north-1"),
            (
                "b-1.x.abcdef.c2.kafka.us-gov-west-1.amazonaws.com.:9098",
                "us-gov-west-1",
            ),
            ("b-1.x.abcdef.c2.kafka.eu-west-3.amazonaws.com", "eu-west-3"),
        ] {
            assert_eq!(of_server(server), Some(region), "{server}");
        }
    }

    #[test]
    fn another_name_tells_none() {
        for server in [
            "kafka.demo.svc:9092",
            "10.0.0.1:9098",
            "kafka.eu-central-1.amazonaws.com:9098",
            "vpce-1.vpce-svc-2.eu-central-1.vpce.amazonaws.com:9098",
            "b-1.x.kafka.eu-central-1.example.com:9098",
            "b-1.kafka..amazonaws.com:9098",
            "amazonaws.com:9098",
            "",
        ] {
            assert_eq!(of_server(server), None, "{server}");
        }
    }
}
