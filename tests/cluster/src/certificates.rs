//! Authorities, certificates and kubeconfigs: who everybody is.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

use crate::blueprint::Blueprint;
use crate::{NODE_NAME, dns, kubectl, metrics_server};

const FOLDER: &str = "certificates";

/// Signs those who talk to the API server, and the servers the API server talks to.
pub(crate) const CLUSTER: &str = "cluster";
/// Signs the API server as the front of extension API servers.
pub(crate) const FRONT_PROXY: &str = "front-proxy";
/// Signs etcd and its only client.
pub(crate) const ETCD: &str = "etcd";

/// Someone with a certificate.
struct Identity {
    name: &'static str,
    authority: &'static str,
    common_name: String,
    organization: Option<&'static str>,
    /// Names and addresses under which it serves.
    serves_as: Vec<String>,
    /// Whether it calls the API server, with a kubeconfig.
    calls_api: bool,
}

/// The certificate, private key and kubeconfig of an identity, and the certificate of an authority: paths as text.
pub(crate) fn certificate(blueprint: &Blueprint, name: &str) -> String {
    blueprint.text(format!("{FOLDER}/{name}.crt"))
}

/// See [`certificate`].
pub(crate) fn private_key(blueprint: &Blueprint, name: &str) -> String {
    blueprint.text(format!("{FOLDER}/{name}.key"))
}

/// See [`certificate`].
pub(crate) fn kubeconfig(blueprint: &Blueprint, name: &str) -> String {
    blueprint.text(format!("{FOLDER}/{name}.kubeconfig"))
}

/// See [`certificate`].
pub(crate) fn authority(blueprint: &Blueprint, name: &str) -> String {
    certificate(blueprint, &format!("{name}-authority"))
}

/// Makes every certificate and kubeconfig, unless they are there.
pub(crate) fn create(blueprint: &Blueprint) -> Result<()> {
    let finished = blueprint.path(FOLDER);
    if finished.is_dir() {
        return Ok(());
    }
    let partial = blueprint.path(format!("{FOLDER}.partial"));
    host::state::remove(&partial)?;
    host::state::create_private(&partial)?;
    let identities = identities(blueprint);
    for name in [CLUSTER, FRONT_PROXY, ETCD] {
        let authority = create_authority(&partial, name)?;
        for identity in identities.iter().filter(|identity| identity.authority == name) {
            issue(&partial, identity, &authority)
                .with_context(|| format!("make a certificate for {}", identity.name))?;
        }
    }
    for identity in identities.iter().filter(|identity| identity.calls_api) {
        write(
            &partial,
            &format!("{}.kubeconfig", identity.name),
            &kubeconfig_of(blueprint, identity.name)?,
        )?;
    }
    let tokens = KeyPair::generate().context("make the key of service account tokens")?;
    write(&partial, "service-accounts.key", &tokens.serialize_pem())?;
    write(&partial, "service-accounts.pub", &tokens.public_key_pem())?;
    // What people and tools are given, at a path that is easy to say.
    host::secret::write_private(
        &kubectl::kubeconfig(blueprint),
        kubeconfig_of(blueprint, "administrator")?.as_bytes(),
    )?;
    fs::rename(&partial, &finished).with_context(|| format!("finish {}", finished.display()))
}

fn identities(blueprint: &Blueprint) -> Vec<Identity> {
    let addresses = &blueprint.addresses;
    let node = addresses.node.to_string();
    let client = |name, common_name: &str, organization| Identity {
        name,
        authority: CLUSTER,
        common_name: common_name.to_owned(),
        organization,
        serves_as: Vec::new(),
        calls_api: true,
    };
    vec![
        Identity {
            authority: ETCD,
            serves_as: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
            calls_api: false,
            ..client("etcd", "etcd", None)
        },
        Identity {
            authority: ETCD,
            calls_api: false,
            ..client("etcd-client", "kube-apiserver", None)
        },
        Identity {
            serves_as: [
                "localhost",
                "kubernetes",
                "kubernetes.default",
                "kubernetes.default.svc",
            ]
            .map(str::to_owned)
            .into_iter()
            .chain([
                format!("kubernetes.default.svc.{}", dns::DOMAIN),
                "127.0.0.1".to_owned(),
                node.clone(),
                addresses.api_service().to_string(),
            ])
            .collect(),
            calls_api: false,
            ..client("api-server", "kube-apiserver", None)
        },
        Identity {
            calls_api: false,
            ..client("kubelet-client", "kube-apiserver", Some("system:masters"))
        },
        Identity {
            authority: FRONT_PROXY,
            calls_api: false,
            ..client("front-proxy-client", "front-proxy-client", None)
        },
        client("administrator", "administrator", Some("system:masters")),
        client("controller-manager", "system:kube-controller-manager", None),
        client("scheduler", "system:kube-scheduler", None),
        client("proxy", "system:kube-proxy", None),
        client("coredns", dns::USER, None),
        Identity {
            serves_as: vec![node.clone(), metrics_server::HOST_NAME.to_owned()],
            ..client("metrics-server", metrics_server::USER, None)
        },
        Identity {
            serves_as: vec![node, NODE_NAME.to_owned()],
            ..client("kubelet", &format!("system:node:{NODE_NAME}"), Some("system:nodes"))
        },
    ]
}

fn create_authority(folder: &Path, name: &str) -> Result<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    params
        .distinguished_name
        .push(DnType::CommonName, format!("syncpipeline {name}"));
    let key = KeyPair::generate().with_context(|| format!("make the key of the {name} authority"))?;
    let certificate = params
        .self_signed(&key)
        .with_context(|| format!("make the {name} authority"))?;
    write(folder, &format!("{name}-authority.crt"), &certificate.pem())?;
    write(folder, &format!("{name}-authority.key"), &key.serialize_pem())?;
    Ok(Issuer::new(params, key))
}

fn issue(folder: &Path, identity: &Identity, authority: &Issuer<'static, KeyPair>) -> Result<()> {
    let mut params = CertificateParams::new(identity.serves_as.clone())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, identity.common_name.as_str());
    if let Some(organization) = identity.organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if !identity.serves_as.is_empty() {
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, authority)?;
    write(folder, &format!("{}.crt", identity.name), &certificate.pem())?;
    write(folder, &format!("{}.key", identity.name), &key.serialize_pem())
}

fn kubeconfig_of(blueprint: &Blueprint, name: &str) -> Result<String> {
    let content = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "embedded", "cluster": {
            "server": blueprint.api_url(),
            "certificate-authority": authority(blueprint, CLUSTER),
        }}],
        "users": [{"name": name, "user": {
            "client-certificate": certificate(blueprint, name),
            "client-key": private_key(blueprint, name),
        }}],
        "contexts": [{"name": "embedded", "context": {"cluster": "embedded", "user": name}}],
        "current-context": "embedded",
    });
    serde_json::to_string_pretty(&content).with_context(|| format!("write the kubeconfig of {name}"))
}

fn write(folder: &Path, name: &str, content: &str) -> Result<()> {
    host::secret::write_private(&folder.join(name), content.as_bytes())
}
