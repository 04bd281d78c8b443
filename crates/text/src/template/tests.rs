use super::*;

fn render(source: &str, messages: &[Message]) -> Result<String, Error> {
    let conversation = Render { messages, add_generation_prompt: true, ..Render::default() };
    ChatTemplate::new(source, "<s>", "</s>")?.render(&conversation)
}

#[test]
fn chatml_is_what_a_model_without_a_template_gets() {
    let messages = [Message::new("system", "S"), Message::new("user", "U")];
    let conversation =
        Render { messages: &messages, add_generation_prompt: true, ..Render::default() };
    assert_eq!(
        ChatTemplate::chatml().render(&conversation).unwrap(),
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn a_template_that_does_not_end_is_stopped() {
    let endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
    assert!(matches!(render(endless, &[]), Err(Error::Endless(_))));
    let recursive = "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}";
    assert!(matches!(render(recursive, &[]), Err(Error::Render(_) | Error::Endless(_))));
}

#[test]
fn a_template_that_prints_without_end_is_stopped() {
    let long = "{% for a in range(9999) %}{{ 'x' * 1000 }}{% endfor %}";
    let error = render(long, &[]).unwrap_err();
    assert!(matches!(error, Error::TooLong(_)), "{error}");
    let huge = "{{ 'x' * 10000000000 }}";
    assert!(matches!(render(huge, &[]), Err(Error::Endless(_))));
}

#[test]
fn errors_say_what_and_where() {
    let error = render("line\n{% if %}", &[]).unwrap_err().to_string();
    assert!(error.contains("cannot be read") && error.contains(":2"), "{error}");
    let error = render("line\n{{ messages[0].content.nothing() }}", &[]).unwrap_err().to_string();
    assert!(error.contains("fails") && error.contains(":2"), "{error}");
    let error = render("{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the chat template refuses this conversation: roles must alternate"
    );
    let within = "{% macro m() %}{{ raise_exception('no') }}{% endmacro %}{{ m() }}";
    assert!(matches!(render(within, &[]), Err(Error::Refused(text)) if text == "no"));
}

#[test]
fn a_template_sees_no_files() {
    assert!(render("{% include '/etc/passwd' %}", &[]).is_err());
}

#[test]
fn whether_thinking_is_opened_depends_on_the_variables() {
    let source = "{{ '<a>' }}{% if enable_thinking is false %}<think>\n\n</think>\n\n\
                  {% else %}<think>\n{% endif %}";
    let template = ChatTemplate::new(source, "", "").unwrap();
    assert_eq!(template.thinking_tags(), Some(("<think>", "</think>")));
    assert!(template.opens_thinking(&Map::new()));
    let off = Map::from_iter([("enable_thinking".to_string(), false.into())]);
    assert!(!template.opens_thinking(&off));
    assert_eq!(template.start_after("<a><think>\n\n</think>\n\n"), Start::After);
    assert_eq!(template.start_after("<a>"), Start::Undecided);
    assert_eq!(ChatTemplate::chatml().thinking_tags(), None);
    assert!(!ChatTemplate::chatml().opens_thinking(&Map::new()));
}

#[test]
fn marks_for_training_print_nothing() {
    assert_eq!(render("a{%- generation -%} b {%- endgeneration %}c", &[]).unwrap(), "abc");
}

#[test]
fn tojson_is_pythons() {
    let conversation = |tools| Render { tools: Some(tools), ..Render::default() };
    let tools =
        serde_json::json!({"z": [1, 2.0, null, true], "a": "<é\u{7f}\n>'&", "e": {}, "l": []});
    let dump = |source: &str| {
        ChatTemplate::new(source, "", "").unwrap().render(&conversation(&tools)).unwrap()
    };
    assert_eq!(
        dump("{{ tools | tojson }}"),
        "{\"z\": [1, 2.0, null, true], \"a\": \"<é\u{7f}\\n>'&\", \"e\": {}, \"l\": []}"
    );
    assert_eq!(
        dump("{{ tools | tojson(ensure_ascii=true, separators=(',', ':'), sort_keys=true) }}"),
        "{\"a\":\"<\\u00e9\\u007f\\n>'&\",\"e\":{},\"l\":[],\"z\":[1,2.0,null,true]}"
    );
    assert_eq!(dump("{{ tools.z | tojson(indent=2) }}"), "[\n  1,\n  2.0,\n  null,\n  true\n]");
    assert!(render("{{ nothing | tojson }}", &[]).is_err());
}

#[test]
fn tool_calls_are_written_as_the_template_wants_them() {
    let call = |arguments: serde_json::Value| Message {
        tool_calls: Some(serde_json::json!([
            {"type": "function", "function": {"name": "f", "arguments": arguments}}
        ])),
        ..Message::new("assistant", "")
    };
    let as_object = "{% for m in messages %}{% for c in m.tool_calls or [] %}\
                     {{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% endfor %}";
    let as_text = "{% for m in messages %}{% if m.content is none %}{% for c in m.tool_calls %}\
                   {{ c.function.name + c.function.arguments }}{% endfor %}{% endif %}{% endfor %}";
    let text = serde_json::json!("{\"b\": 1, \"a\": 2}");
    let object = serde_json::json!({"b": 1, "a": 2});
    for source in [as_object, as_text] {
        for arguments in [&text, &object] {
            assert_eq!(
                render(source, &[call(arguments.clone())]).unwrap(),
                "f{\"b\": 1, \"a\": 2}"
            );
        }
    }
}

#[test]
fn no_tool_calls_are_the_same_as_an_empty_list_of_them() {
    let source = "{% for m in messages %}{{ 'tool_calls' in m }}{% endfor %}";
    let message =
        Message { tool_calls: Some(serde_json::json!([])), ..Message::new("assistant", "") };
    assert_eq!(render(source, &[message]).unwrap(), "False");
}
