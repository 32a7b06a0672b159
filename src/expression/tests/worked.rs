//! Reference 7.6: each worked expression against a request.

use super::*;

struct Case {
    purpose: &'static str,
    expression: &'static str,
    headers: &'static [(&'static str, &'static str)],
    /// As JSON.
    expected: &'static str,
}

const SID: &str = "#[trim(dw::core::Strings::substringBefore(dw::core::Strings::substringAfter(attributes.headers.cookie default '', 'sid='), ';'))]";
const BASIC_USER: &str = "#[splitBy(dw::core::Binaries::fromBase64(dw::core::Strings::substringAfter(attributes.headers.authorization default '', 'Basic ')), ':')[0]]";
const FORWARDED: &[(&str, &str)] = &[("x-forwarded-for", "203.0.113.7, 10.0.0.2 , 10.0.0.3")];

const CASES: &[Case] = &[
    Case {
        purpose: "header with dash",
        expression: "#[attributes.headers.'x-tenant-id']",
        headers: &[("x-tenant-id", "acme")],
        expected: r#""acme""#,
    },
    Case {
        purpose: "header with dash, absent",
        expression: "#[attributes.headers.'x-tenant-id']",
        headers: &[],
        expected: "null",
    },
    Case {
        purpose: "header present",
        expression: "#[attributes.headers['x-tenant-id'] != null]",
        headers: &[("x-tenant-id", "")],
        expected: "true",
    },
    Case {
        purpose: "header absent",
        expression: "#[attributes.headers['x-tenant-id'] != null]",
        headers: &[],
        expected: "false",
    },
    Case {
        purpose: "path test",
        expression: "#[not(attributes.requestPath contains '/internal')]",
        headers: &[],
        expected: "true",
    },
    Case {
        purpose: "left-most forwarded address",
        expression: "#[trim(splitBy(attributes.headers['x-forwarded-for'], ',')[0])]",
        headers: FORWARDED,
        expected: r#""203.0.113.7""#,
    },
    Case {
        purpose: "right-most forwarded address",
        expression: "#[trim(splitBy(attributes.headers['x-forwarded-for'], ',')[-1])]",
        headers: FORWARDED,
        expected: r#""10.0.0.3""#,
    },
    Case {
        purpose: "user of Basic credentials",
        expression: BASIC_USER,
        headers: &[("authorization", "Basic YWxpY2U6c2VjcmV0")],
        expected: r#""alice""#,
    },
    Case {
        purpose: "user of Basic credentials, with blanks after the scheme",
        expression: BASIC_USER,
        headers: &[("authorization", "Basic   YWxpY2U6c2VjcmV0 ")],
        expected: r#""alice""#,
    },
    Case { purpose: "no credentials at all", expression: BASIC_USER, headers: &[], expected: r#""""# },
    Case {
        purpose: "cookie",
        expression: SID,
        headers: &[("cookie", "theme=dark; sid=s1; lang=en")],
        expected: r#""s1""#,
    },
    Case {
        purpose: "cookie that is the last, without `;`",
        expression: SID,
        headers: &[("cookie", "theme=dark; sid=s1")],
        expected: r#""""#,
    },
    Case { purpose: "no cookie", expression: SID, headers: &[], expected: r#""""# },
    Case {
        purpose: "scope list",
        expression: "#[splitBy(authentication.properties.claims.scope default '', ' ') contains 'write']",
        headers: &[],
        expected: "true",
    },
    Case {
        purpose: "scope list without that scope",
        expression: "#[splitBy(authentication.properties.claims.scope default '', ' ') contains 'writ']",
        headers: &[],
        expected: "false",
    },
    Case {
        purpose: "choice",
        expression: "#[if (attributes.method == 'GET') 'read' else 'write']",
        headers: &[],
        expected: r#""read""#,
    },
    Case {
        purpose: "combined key",
        expression: "#[(authentication.clientId default 'anonymous') ++ ':' ++ attributes.method]",
        headers: &[],
        expected: r#""c-1:GET""#,
    },
    Case {
        purpose: "redacted headers",
        expression: "#[attributes.headers -- ['authorization', 'cookie']]",
        headers: &[("host", "a"), ("authorization", "b"), ("cookie", "c"), ("accept", "d")],
        expected: r#"{"host": "a", "accept": "d"}"#,
    },
];

#[test]
fn each_worked_expression_gives_its_outcome() {
    for Case { purpose, expression, headers, expected } in CASES {
        let template = Template::compile(expression).unwrap_or_else(|error| panic!("{purpose}: {error}"));
        assert_eq!(template.warnings(), [], "{purpose}");
        let headers = headers.iter().map(|(name, value)| (*name, Value::from(*value))).collect();
        let request = Request { headers, ..Request::default() };
        let value = template.eval(&request).unwrap_or_else(|error| panic!("{purpose}: {error}"));
        assert_eq!(value, json(expected), "{purpose}");
    }
}

#[test]
fn splitting_an_absent_header_is_an_evaluation_error() {
    let template =
        Template::compile("#[trim(splitBy(attributes.headers['x-forwarded-for'], ',')[0])]").unwrap();
    let request = Request { headers: Vec::new(), ..Request::default() };
    let error = template.eval(&request).unwrap_err();
    assert_eq!(
        error.message,
        "`splitBy` does not take (Null, String); give a null an alternative with `default`"
    );
}

#[test]
fn expressions_of_the_policy_sections_compile() {
    for expression in [
        "#[attributes.headers['x-forwarded-for']]",
        "#[attributes.remoteAddress]",
        "#[trim(splitBy(attributes.headers.'x-forwarded-for', ',')[-1])]",
        "#[authentication.clientName default 'anonymous']",
        "#[attributes.requestPath]",
        "#[attributes.method ++ ' ' ++ attributes.requestUri]",
        "#['request ' ++ vars.reqId ++ ' rejected by ' ++ (vars.violation.policyName default 'none')]",
        "#[attributes.statusCode >= 400]",
        "#[attributes.headers -- \"Authorization\"]",
        "#[attributes.statusCode as String]",
        "#[vars.claimSet.iss == 'https://idp']",
    ] {
        let template = Template::compile(expression).unwrap_or_else(|error| panic!("{expression}: {error}"));
        assert_eq!(template.warnings(), [], "{expression}");
    }
}
