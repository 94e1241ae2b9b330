//! Where to publish: `rtmp://host[:port]/app/key`.
//!
//! As encoders take it apart: the key is what follows the last slash of the path, its query included.

use super::Error;

/// RTMP's own port.
const PORT: u16 = 1935;

/// A publishing address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    /// Name or number, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Application, `live` mostly.
    pub(super) app: String,
    /// Stream name and query: `NAME?key=SECRET`.
    pub(super) key: String,
    /// What `connect` calls tcUrl.
    pub(super) tc_url: String,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let refused = || Error::Address(text.to_owned());
        let url = url::Url::parse(text).map_err(|_| refused())?;
        let host = match url.host().ok_or_else(refused)? {
            url::Host::Domain(name) => name.to_owned(),
            url::Host::Ipv4(number) => number.to_string(),
            url::Host::Ipv6(number) => number.to_string(),
        };
        let (app, name) = url.path().trim_start_matches('/').rsplit_once('/').ok_or_else(refused)?;
        if url.scheme() != "rtmp" || app.is_empty() || name.is_empty() {
            return Err(refused());
        }
        let port = url.port().unwrap_or(PORT);
        let key = url.query().map_or_else(|| name.to_owned(), |query| format!("{name}?{query}"));
        let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        Ok(Self { tc_url: format!("rtmp://{bracketed}:{port}/{app}"), host, port, app: app.to_owned(), key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, u16, &str, &str, &str)>) {
        let got = Address::parse(text).ok();
        let got = got.as_ref().map(|a| (a.host.as_str(), a.port, a.app.as_str(), a.key.as_str(), a.tc_url.as_str()));
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn the_key_is_what_follows_the_last_slash() {
        check("rtmp://localhost/live/foo", Some(("localhost", 1935, "live", "foo", "rtmp://localhost:1935/live")));
        check(
            "rtmp://10.0.0.1:19350/live/foo?key=a&proj=flat",
            Some(("10.0.0.1", 19350, "live", "foo?key=a&proj=flat", "rtmp://10.0.0.1:19350/live")),
        );
        check("rtmp://[::1]/a/b/foo", Some(("::1", 1935, "a/b", "foo", "rtmp://[::1]:1935/a/b")));
    }

    #[test]
    fn addresses_without_application_and_key_are_refused() {
        for text in ["", "localhost/live/foo", "http://localhost/live/foo", "rtmp://localhost", "rtmp://localhost/live"]
        {
            check(text, None);
        }
        check("rtmp://localhost/live/", None);
        check("rtmp:///live/foo", None);
    }
}
