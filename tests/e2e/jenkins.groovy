// Runs a declarative Jenkinsfile against stubs: blocks, steps and their arguments that are not listed here are refused.
// It prints what the pipeline would do as JSON, one step a line; nothing is run.
//
//     groovy jenkins.groovy JENKINSFILE [PARAMETER=VALUE …]
import groovy.json.JsonOutput

class State {
    static Map env = [BUILD_NUMBER: '7', BUILD_URL: 'https://jenkins/7', JOB_NAME: 'wine', WORKSPACE_TMP: '/tmp/ws@tmp']
    static Map params = [:]
    static Map given = [:]
    static List path = []
    static Map exported = [:]

    static void say(String step, Object what) {
        println JsonOutput.toJson([stage: path.join('/'), step: step, what: what, env: env + params + exported])
    }
    static void within(Map more, Closure act) {
        Map before = exported
        exported = before + more
        act()
        exported = before
    }
}

class Block {
    def getEnv() { State.env + State.exported }
    def getParams() { State.params }
    def enter(Block block, Closure body) {
        body.delegate = block
        body.resolveStrategy = Closure.DELEGATE_ONLY
        body.call()
        block
    }
    void known(String step, Map given, List names) {
        assert given.keySet() - names == [] as Set : "${step} has no ${given.keySet() - names}"
    }
}

class Agent extends Block { void label(String text) { assert text } }

class Options extends Block {
    def logRotator(Map given) { known('logRotator', given, ['numToKeepStr']); given }
    void buildDiscarder(Map rotator) { assert rotator }
    void disableConcurrentBuilds() { }
    void skipDefaultCheckout() { }
    void timeout(Map given) { known('timeout', given, ['time', 'unit']); assert given.unit in ['MINUTES', 'HOURS', 'DAYS'] }
}

class Triggers extends Block { void cron(String text) { State.say('cron', text) } }

class Parameters extends Block {
    void string(Map given) {
        known('string', given, ['name', 'defaultValue', 'description'])
        State.params[given.name] = State.given.containsKey(given.name) ? State.given[given.name] : given.defaultValue
    }
}

class Environment extends Block {
    Map values = [:]
    def credentials(String id) { "the secret ${id}".toString() }
    void setProperty(String name, Object value) { values[name] = value.toString() }
}

class When extends Block {
    boolean isMet = true
    void beforeInput(boolean value) { assert value }
    void expression(Closure test) { isMet = enter(this, test) && call(test) }
    boolean call(Closure test) { test.call() as boolean }
}

class Input extends Block {
    void message(String text) { State.say('input', text) }
    void ok(String text) { assert text }
}

class Steps extends Block {
    def getScm() { 'scm' }
    void checkout(String what) { State.say('checkout', what) }
    void sh(String command) { State.say('sh', command) }
    void dir(String name, Closure body) { State.path << name; enter(this, body); State.path.pop() }
    void git(Map given) { known('git', given, ['url', 'branch', 'credentialsId']); State.say('git', given) }
    Map usernamePassword(Map given) {
        known('usernamePassword', given, ['credentialsId', 'usernameVariable', 'passwordVariable'])
        [(given.usernameVariable): 'ada', (given.passwordVariable): "the password ${given.credentialsId}".toString()]
    }
    Map gitUsernamePassword(Map given) {
        known('gitUsernamePassword', given, ['credentialsId', 'gitToolName'])
        [GIT_ASKPASS: "the password ${given.credentialsId}".toString()]
    }
    void withCredentials(List bindings, Closure body) { State.within(bindings.sum()) { enter(this, body) } }
    void script(Closure body) { enter(this, body) }
    void junit(Map given) { known('junit', given, ['testResults', 'allowEmptyResults']); State.say('junit', given) }
    void archiveArtifacts(Map given) {
        known('archiveArtifacts', given, ['artifacts', 'allowEmptyArchive'])
        State.say('archiveArtifacts', given)
    }
    void mail(Map given) { known('mail', given, ['to', 'subject', 'body']); State.say('mail', given.to) }
}

class Stage extends Block {
    Map values = [:]
    List bodies = []
    Closure asked
    boolean isRun = true
    void when(Closure body) { isRun = enter(new When(), body).isMet }
    void input(Closure body) { asked = body }
    void environment(Closure body) { values = enter(new Environment(), body).values }
    void steps(Closure body) { bodies << { enter(new Steps(), body) } }
    void parallel(Closure body) { bodies << { enter(new Stages(), body) } }
    void run() {
        assert bodies.size() == 1 : 'a stage has either steps or parallel stages'
        if (!isRun) { return }
        if (asked != null) { enter(new Input(), asked) }
        State.within(values, bodies[0])
    }
}

class Stages extends Block {
    void stage(String name, Closure body) {
        State.path << name
        enter(new Stage(), body).run()
        State.path.pop()
    }
}

class Post extends Block {
    void always(Closure body) { State.path << 'always'; enter(new Steps(), body); State.path.pop() }
    void unsuccessful(Closure body) { State.path << 'unsuccessful'; enter(new Steps(), body); State.path.pop() }
}

class Pipeline extends Block {
    boolean hasAgent = false
    void agent(Closure body) { hasAgent = true; enter(new Agent(), body) }
    void options(Closure body) { enter(new Options(), body) }
    void triggers(Closure body) { enter(new Triggers(), body) }
    void parameters(Closure body) { enter(new Parameters(), body) }
    void environment(Closure body) { State.exported = enter(new Environment(), body).values }
    void stages(Closure body) { assert hasAgent; enter(new Stages(), body) }
    void post(Closure body) { enter(new Post(), body) }
}

State.given = args.drop(1).collectEntries { it.split('=', 2) as List }
def start = { Closure body -> new Block().enter(new Pipeline(), body) }
new GroovyShell(new Binding(pipeline: start)).evaluate(new File(args[0]))
