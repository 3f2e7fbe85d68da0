//! The hub's API, as a script uses it.

use anyhow::{Context, Result, ensure};
use reqwest::multipart::Form;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::hub::{Hub, PASSWORD};

/// What the API said; what is no JSON is a text.
pub type Answer = (StatusCode, Value);

/// The hub's API for one account, or for nobody.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Api {
    /// For somebody who has not logged in.
    pub fn stranger(hub: &Hub) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Certificate::from_pem(&std::fs::read(hub.authority())?)?;
        let client = Client::builder().tls_certs_only([authority]).timeout(PATIENCE).build()?;
        Ok(Self { client, base: format!("https://localhost:{}", hub.https.port()), token: None })
    }

    /// Logs in.
    pub async fn open(hub: &Hub, name: &str) -> Result<Self> {
        let mut api = Self::stranger(hub)?;
        let login = json!({"name": name, "password": PASSWORD});
        let session = answered(200, api.post("/sessions", &login).await?)?;
        api.token = Some(session["token"].as_str().context("a token")?.to_owned());
        Ok(api)
    }

    /// A request that is not sent yet, with the account's token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.console(method, &format!("/api/v1{path}"))
    }

    /// The same to a page of the console.
    pub fn console(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a body, or none where that is null.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        let request = self.request(method, path);
        let request = if body.is_null() { request } else { request.json(body) };
        told(request.send().await?).await
    }

    /// Sends a form.
    pub async fn upload(&self, path: &str, form: Form) -> Result<Answer> {
        told(self.request(Method::POST, path).multipart(form).send().await?).await
    }

    /// Asks for something.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &Value::Null).await
    }

    /// Puts something there.
    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PUT, path, body).await
    }

    /// Adds something, or has something done.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::POST, path, body).await
    }

    /// Changes a part of something.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PATCH, path, body).await
    }

    /// Takes something away.
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, &Value::Null).await
    }

    /// A list that they may see.
    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let list = answered(200, self.get(path).await?)?;
        Ok(list.as_array().with_context(|| format!("{path} is no list: {list}"))?.clone())
    }

    /// A person's day that they may see.
    pub async fn day(&self, number: &str, date: &str) -> Result<Value> {
        answered(200, self.get(&format!("/workdays/{number}/{date}")).await?)
    }
}

async fn told(answer: Response) -> Result<Answer> {
    let status = answer.status();
    let text = answer.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// The body of an answer with the expected status.
pub fn answered(expected: u16, (status, body): Answer) -> Result<Value> {
    ensure!(status.as_u16() == expected, "{status} instead of {expected}: {body}");
    Ok(body)
}

/// Checks that a value says all that is expected of it.
pub fn says(value: &Value, expected: &Value) -> Result<()> {
    for (key, wanted) in expected.as_object().context("an object is expected")? {
        ensure!(value[key] == *wanted, "{key} should be {wanted} in {value}");
    }
    Ok(())
}

/// The texts of one key.
pub fn texts<'a>(rows: &'a [Value], key: &str) -> Vec<&'a str> {
    rows.iter().filter_map(|row| row[key].as_str()).collect()
}
