// Reads simulations of @cloud-copilot/iam-simulate from standard input, writes for each what IAM would decide.
import { isWildcardOnlyAction, runSimulation } from '@cloud-copilot/iam-simulate'

let text = ''
for await (const part of process.stdin) text += part
const answers = []
for (const simulation of JSON.parse(text)) {
  const result = await runSimulation(simulation, {})
  const [service, action] = simulation.request.action.split(':')
  answers.push({
    decision: result.overallResult ?? result.analysis?.result ?? null,
    errors: result.errors ?? null,
    withoutResource: await isWildcardOnlyAction(service, action)
  })
}
process.stdout.write(JSON.stringify(answers))
