use super::*;

fn user(text: &str) -> Result<Catalogue, CatalogueError> {
    Catalogue::built_in().unwrap().extended(text, Path::new("mine.toml"))
}

fn message(error: CatalogueError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text += &format!("\n{cause}");
        source = cause.source();
    }
    text
}

const ROW: &str = r#"
    architecture = "qwen2"
    parameters = "1B"
    context = 1024
    license = "MIT"
    quant = "Q8_0"
"#;

#[test]
fn every_promised_name_is_built_in() {
    let catalogue = Catalogue::built_in().unwrap();
    let mut names = vec!["qwq-32b".to_owned(), "qwq-32b-preview".into(), "smollm2-135m".into()];
    names.extend(["0.5b", "1.5b"].map(|s| format!("qwen2.5-coder-{s}")));
    names.extend(["0.5b", "1.5b", "3b", "7b", "14b", "32b", "72b"].map(|s| format!("qwen2.5-{s}")));
    let qwen3 = ["0.6b", "1.7b", "4b", "8b", "14b", "32b", "30b-a3b"];
    names.extend(qwen3.map(|s| format!("qwen3-{s}")));
    names.extend(["1.5b", "7b", "14b", "32b"].map(|s| format!("r1-distill-qwen-{s}")));
    names.extend(["8b", "70b"].map(|s| format!("r1-distill-llama-{s}")));
    for name in &names {
        assert!(catalogue.find(name).is_some(), "{name} is missing");
    }
    assert_eq!(catalogue.models().len(), names.len(), "a row nobody listed here");
    assert_eq!(catalogue.default_name(), "qwen2.5-coder-0.5b");
}

#[test]
fn thinking_models_are_sampled_as_their_makers_say() {
    let catalogue = Catalogue::built_in().unwrap();
    let sampling = |name: &str| {
        let s = catalogue.find(name).unwrap().sampling;
        (s.temperature, s.top_p, s.top_k, s.min_p)
    };
    assert_eq!(sampling("QwQ-32B"), (Some(0.6), Some(0.95), Some(40), Some(0.0)));
    assert_eq!(sampling("r1-distill-llama-8b"), (Some(0.6), Some(0.95), Some(40), Some(0.0)));
    assert_eq!(sampling("qwen3:4b"), (Some(0.6), Some(0.95), Some(20), Some(0.0)));
    assert_eq!(sampling("qwen2.5-7b"), (Some(0.7), Some(0.8), Some(20), None));
}

#[test]
fn a_users_row_replaces_a_name_and_takes_over_an_alias() {
    let text = format!(
        r#"
        default = "mine"
        [[model]]
        name = "qwq"
        {ROW}
        source = [{{ kind = "path", path = "/a.gguf" }}]
        [[model]]
        name = "mine"
        {ROW}
        source = [{{ kind = "huggingface", repo = "me/mine" }}]
        "#
    );
    let catalogue = user(&text).unwrap();
    assert_eq!(catalogue.default_name(), "mine");
    assert_eq!(catalogue.find("qwq").unwrap().name, "qwq");
    assert_eq!(catalogue.find("qwq:32b").unwrap().name, "qwq-32b");
}

#[test]
fn errors_name_file_row_and_remedy() {
    let cases = [
        (
            "[[model]]\nname = \"x\"\nnonsense = 1",
            "mine.toml is not a valid catalogue\nTOML parse error at line 3, column 1",
        ),
        (
            "default = \"nobody\"",
            "mine.toml: model `nobody`: `default` names this model, but there is no such row",
        ),
    ];
    for (text, expected) in cases {
        let got = message(user(text).unwrap_err());
        assert!(got.starts_with(expected), "{got}");
    }
    let rows = [
        ("source = []", "it has no [[model.source]], so it could never be pulled"),
        (
            "source = [{ kind = \"huggingface\", repo = \"x\" }]",
            "repo `x` is not of the form owner/name",
        ),
        (
            "source = [{ kind = \"pip\", parts = [] }]",
            "a pip source needs exactly one entry in `files`",
        ),
        (
            "files = [{ name = \"../x\" }]\nsource = [{ kind = \"path\", path = \"/x\" }]",
            "file name `../x` must not contain directories",
        ),
        (
            "files = [{ name = \"x\", sha256 = \"AB\" }]\nsource = [{ kind = \"path\", path = \"/x\" }]",
            "sha256 of `x` must be 64 lower-case hex digits",
        ),
        (
            "files = [{ name = \"x\", size = 1 }]\nsource = [{ kind = \"pip\", parts = [] }]",
            "a pip source needs size and sha256 of `x`",
        ),
    ];
    for (row, problem) in rows {
        let got = message(user(&format!("[[model]]\nname = \"m\"{ROW}{row}")).unwrap_err());
        assert_eq!(got, format!("mine.toml: model `m`: {problem}"));
    }
}

#[test]
fn a_package_name_cannot_smuggle_an_option_into_pip() {
    let sha = "0".repeat(64);
    let row = |package: &str| {
        format!(
            "[[model]]\nname = \"m\"{ROW}files = [{{ name = \"x\", size = 1, sha256 = \"{sha}\" }}]
            source = [{{ kind = \"pip\", parts = [{{ package = \"{package}\", version = \"1\", member = \"x\" }}] }}]"
        )
    };
    assert!(user(&row("fine-name")).is_ok());
    for bad in ["--index-url", "name @ http://x", "", "a b"] {
        assert!(user(&row(bad)).is_err(), "{bad}");
    }
}

#[test]
fn arguments_mean_rows_repositories_or_paths() {
    let catalogue = Catalogue::built_in().unwrap();
    let parse = |text: &str| ModelRef::parse(text, &catalogue);
    let row = |name: &str, quant: Option<&str>| {
        Ok(ModelRef::Row { model: catalogue.find(name).unwrap(), quant: quant.map(str::to_owned) })
    };
    let repo = |repo: &str, revision: Option<&str>, select: Option<&str>| {
        Ok(ModelRef::Repo {
            repo: repo.to_owned(),
            revision: revision.map(str::to_owned),
            select: select.map(str::to_owned),
        })
    };
    assert_eq!(parse("qwq"), row("qwq-32b", None));
    assert_eq!(parse("qwen2.5:7b"), row("qwen2.5-7b", None));
    assert_eq!(parse("qwq-32b:q8_0"), row("qwq-32b", Some("Q8_0")));
    assert_eq!(parse("qwq-32b:q4_k_m"), row("qwq-32b", None));
    assert_eq!(parse("Qwen/QwQ-32B-GGUF:Q4_K_M"), repo("Qwen/QwQ-32B-GGUF", None, Some("Q4_K_M")));
    assert_eq!(parse("a/b@v1"), repo("a/b", Some("v1"), None));
    assert_eq!(parse("a/b:sub/x.gguf"), repo("a/b", None, Some("sub/x.gguf")));
    assert_eq!(parse("/"), Ok(ModelRef::Path("/".into())));
    for missing in ["./x", "models/x.gguf", "x.gguf", "a/b/c", "../a"] {
        assert_eq!(parse(missing), Err(ReferenceError::NoFile(missing.into())), "{missing}");
    }
    assert_eq!(
        parse("qwq-33b").unwrap_err().to_string(),
        "there is no model `qwq-33b` in the catalogue\nhint: did you mean `qwq-32b`?"
    );
    assert_eq!(
        parse("gpt-oss").unwrap_err().to_string(),
        "there is no model `gpt-oss` in the catalogue\nhint: `ponder list --all` shows every name; `owner/repo:QUANT` and paths work too"
    );
}
