//! Objects, Events and pods of the Kubernetes cluster.

use crate::eventually::eventually;
use anyhow::{Context, Result, anyhow};
use futures::{AsyncBufReadExt, AsyncReadExt, TryStreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Event, Namespace};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource, ResourceExt};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

/// Longest time in which a namespace goes.
const NAMESPACE_GOES: Duration = Duration::from_secs(120);
/// Field manager of everything applied from here.
const MANAGER: &str = "syncpipeline-e2e";

/// A cluster that is there already.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl Cluster {
    /// Connects with a kubeconfig file, or with the user's own configuration where none is named.
    pub async fn connect(kubeconfig: Option<&Path>) -> Result<Cluster> {
        runtime::tls::install_provider();
        let mut config = match kubeconfig {
            Some(path) => {
                let file = Kubeconfig::read_from(path).with_context(|| format!("read {}", path.display()))?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
            }
            None => Config::infer().await?,
        };
        config.connect_timeout = Some(Duration::from_secs(10));
        Ok(Cluster {
            client: Client::try_from(config)?,
        })
    }

    /// The client, for what has no method here.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Objects of a kind in a namespace.
    pub fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client(), namespace)
    }

    /// Server-side apply of an object in its own namespace.
    pub async fn apply<K>(&self, object: &K) -> Result<K, kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let namespace = object.namespace().unwrap_or_default();
        let params = PatchParams::apply(MANAGER).force();
        self.api::<K>(&namespace)
            .patch(&object.name_any(), &params, &Patch::Apply(object))
            .await
    }

    /// Deletes an object and waits until it is gone; one that is not there is as good.
    pub async fn delete<K>(&self, namespace: &str, name: &str, timeout: Duration) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        delete(&self.api::<K>(namespace), name, timeout).await
    }

    /// Creates a namespace, or finds it; one that is still going is waited for.
    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client());
        eventually(&format!("the end of namespace {name}"), NAMESPACE_GOES, async || {
            let found = api.get_opt(name).await?;
            let is_going = found.is_some_and(|found| found.meta().deletion_timestamp.is_some());
            Ok((!is_going).then_some(()))
        })
        .await?;
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        let params = PatchParams::apply(MANAGER).force();
        api.patch(name, &params, &Patch::Apply(namespace)).await?;
        Ok(())
    }

    /// Deletes a namespace with all that is in it, and waits until it is gone.
    pub async fn delete_namespace(&self, name: &str, timeout: Duration) -> Result<()> {
        delete(&Api::<Namespace>::all(self.client()), name, timeout).await
    }

    /// Lets a namespace go with all that is in it, which takes a while.
    pub async fn abandon_namespace(&self, name: &str) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client());
        match api.delete(name, &DeleteParams::background()).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            outcome => Ok(outcome.map(drop)?),
        }
    }

    /// `reason: note` of the Events about an object, oldest first.
    pub async fn events(&self, namespace: &str, name: &str) -> Result<Vec<String>> {
        let params = ListParams::default().fields(&format!("involvedObject.name={name}"));
        let mut events = self.api::<Event>(namespace).list(&params).await?.items;
        events.sort_by_key(|event| event.metadata.creation_timestamp.as_ref().map(|time| time.0));
        let text = |event: Event| {
            let reason = event.reason.unwrap_or_default();
            format!("{reason}: {}", event.message.unwrap_or_default())
        };
        Ok(events.into_iter().map(text).collect())
    }

    /// GET of a path that a pod serves, through the API server, which reaches pods wherever this process runs.
    pub async fn get_from_pod(&self, namespace: &str, pod: &str, port: u16, path: &str) -> Result<String> {
        let mut text = String::new();
        let stream = self.client.request_stream(proxied(namespace, pod, port, path)?).await?;
        let mut stream = std::pin::pin!(stream);
        stream.read_to_string(&mut text).await?;
        Ok(text)
    }

    /// The lines of what a pod serves under a path, read as they come.
    pub async fn lines_from_pod<T: DeserializeOwned>(
        &self,
        namespace: &str,
        pod: &str,
        port: u16,
        path: &str,
    ) -> Result<Vec<T>> {
        let stream = self.client.request_stream(proxied(namespace, pod, port, path)?).await?;
        let mut lines = Box::pin(stream).lines();
        let mut all = Vec::new();
        while let Some(line) = lines.try_next().await? {
            all.push(serde_json::from_str(&line).with_context(|| format!("read a line of {path}"))?);
        }
        Ok(all)
    }
}

fn proxied(namespace: &str, pod: &str, port: u16, path: &str) -> Result<http::Request<Vec<u8>>> {
    let url = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}");
    Ok(http::Request::get(url).body(Vec::new())?)
}

async fn delete<K>(api: &Api<K>, name: &str, timeout: Duration) -> Result<()>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    eventually(&format!("deletion of {name}"), timeout, async || {
        match api.get_opt(name).await? {
            None => Ok(Some(())),
            Some(found) if found.meta().deletion_timestamp.is_some() => Ok(None),
            Some(_) => match api.delete(name, &DeleteParams::foreground()).await {
                Err(kube::Error::Api(status)) if !status.is_not_found() => Err(anyhow!(status)),
                Err(kube::Error::Api(_)) | Ok(_) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    })
    .await
}
