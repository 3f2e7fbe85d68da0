//! The hub's API, as a script uses it.

use anyhow::{Context, Result, ensure};
use reqwest::multipart::Form;
use reqwest::{Certificate, Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::TIMEOUT;
use crate::hub::{Hub, PASSWORD};

/// Status and body; a body that is not JSON is a string.
pub type Answer = (StatusCode, Value);

/// A client of the API with the session of an account, or without one.
#[derive(Clone)]
pub struct Api {
    client: Client,
    base: String,
    token: Option<String>,
}

impl Api {
    pub fn anonymous(hub: &Hub) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Certificate::from_pem(&std::fs::read(hub.authority())?)?;
        let client = Client::builder().tls_certs_only([authority]).timeout(TIMEOUT).build()?;
        Ok(Self { client, base: format!("https://localhost:{}", hub.https.port()), token: None })
    }

    pub async fn login(hub: &Hub, name: &str) -> Result<Self> {
        let mut api = Self::anonymous(hub)?;
        let login = json!({"name": name, "password": PASSWORD});
        let session = expect_status(200, api.post("/sessions", &login).await?)?;
        api.token = Some(session["token"].as_str().context("a token")?.to_owned());
        Ok(api)
    }

    /// A request to the API, with the session's token.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.console(method, &format!("/api/v1{path}"))
    }

    /// A request to the console.
    pub fn console(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a JSON body; null sends none.
    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Answer> {
        let request = self.request(method, path);
        let request = if body.is_null() { request } else { request.json(body) };
        read(request.send().await?).await
    }

    pub async fn upload(&self, path: &str, form: Form) -> Result<Answer> {
        read(self.request(Method::POST, path).multipart(form).send().await?).await
    }

    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(Method::GET, path, &Value::Null).await
    }

    pub async fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PUT, path, body).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::POST, path, body).await
    }

    pub async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(Method::PATCH, path, body).await
    }

    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(Method::DELETE, path, &Value::Null).await
    }

    pub async fn list(&self, path: &str) -> Result<Vec<Value>> {
        let list = expect_status(200, self.get(path).await?)?;
        Ok(list.as_array().with_context(|| format!("{path} is no list: {list}"))?.clone())
    }

    pub async fn day(&self, number: &str, date: &str) -> Result<Value> {
        expect_status(200, self.get(&format!("/workdays/{number}/{date}")).await?)
    }
}

async fn read(answer: Response) -> Result<Answer> {
    let status = answer.status();
    let text = answer.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
}

/// The body of an answer with the expected status.
pub fn expect_status(expected: u16, (status, body): Answer) -> Result<Value> {
    ensure!(status.as_u16() == expected, "{status} instead of {expected}: {body}");
    Ok(body)
}

/// Checks that an object has the expected fields, among others.
pub fn contains_fields(value: &Value, expected: &Value) -> Result<()> {
    for (key, wanted) in expected.as_object().context("an object is expected")? {
        ensure!(value[key] == *wanted, "{key} is not {wanted}: {value}");
    }
    Ok(())
}

/// The string values of a key.
pub fn texts<'a>(rows: &'a [Value], key: &str) -> Vec<&'a str> {
    rows.iter().filter_map(|row| row[key].as_str()).collect()
}
