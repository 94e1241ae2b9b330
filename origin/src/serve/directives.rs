//! Delivery directives in a playlist request's query (§6.2.5): `_HLS_msn`, `_HLS_part`, `_HLS_skip`.
//!
//! Pure. Other parameters are none of our business and ignored.

use media::hls::reload::Ask;

/// What a query asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Directives {
    pub(super) ask: Ask,
    /// `_HLS_skip`: a delta update will do.
    pub(super) skip: bool,
}

/// Reads a query. `Err` says in words what is wrong with a directive.
pub(super) fn parse(query: &str) -> Result<Directives, String> {
    let mut directives = Directives::default();
    for pair in query.split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "_HLS_msn" => directives.ask.msn = Some(number(key, value)?),
            "_HLS_part" => directives.ask.part = Some(number(key, value)?),
            "_HLS_skip" if matches!(value, "YES" | "v2") => directives.skip = true,
            "_HLS_skip" => return Err("_HLS_skip must be YES or v2".to_owned()),
            _ => {}
        }
    }
    Ok(directives)
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, String> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|_| digits).ok_or_else(|| format!("{key} must be a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, expected: Result<(Option<u64>, Option<u32>, bool), ()>) {
        let parsed = parse(query).map(|d| (d.ask.msn, d.ask.part, d.skip)).map_err(|_| ());
        assert_eq!(parsed, expected, "{query}");
    }

    #[test]
    fn directives_are_read_and_the_rest_is_ignored() {
        check("", Ok((None, None, false)));
        check("_HLS_msn=12", Ok((Some(12), None, false)));
        check("CMCD=x&_HLS_part=3&_HLS_msn=12&_HLS_skip=YES", Ok((Some(12), Some(3), true)));
        check("_HLS_skip=v2", Ok((None, None, true)));
    }

    #[test]
    fn nonsense_is_refused() {
        for query in
            ["_HLS_msn=", "_HLS_msn=-1", "_HLS_msn=+1", "_HLS_part=1.5", "_HLS_skip=NO", "_HLS_part=99999999999"]
        {
            check(query, Err(()));
        }
    }
}
